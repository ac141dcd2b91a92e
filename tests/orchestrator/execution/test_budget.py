"""What a budget counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.execution import budget
from orchestrator.execution.budget import Budget, BudgetError, Limits
from tests.toys import toy_trial
from workers.reports import TrialEnded, TrialLeft, TrialStarted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_hours_are_those_of_the_run(clock: list[float]) -> None:
    spent = Budget(Limits(hours=2), {}).spent
    clock[0] = 2 * 3600 - 1
    assert spent() is None
    clock[0] = 2 * 3600
    assert spent() == "--max-hours 2 is spent"


def test_gpu_hours_are_the_shares_of_the_trials_that_run(clock: list[float]) -> None:
    trial = toy_trial(resources={"gpus": 0.25})
    account = Budget(Limits(gpu_hours=1), {trial.id: trial})
    account.listen(TrialStarted(trial.id))
    clock[0] = 2 * 3600  # half a GPU-hour
    account.listen(TrialLeft(trial.id, "lost its worker"))
    clock[0] = 10 * 3600  # nothing runs
    account.listen(TrialStarted(trial.id))
    clock[0] = 12 * 3600 - 1
    assert account.spent() is None
    clock[0] = 12 * 3600
    account.listen(TrialEnded(trial.id, "done"))
    assert account.spent() == "--max-gpu-hours 1 is spent"


def test_gpu_hours_of_a_sweep_without_gpus_are_refused() -> None:
    trial = toy_trial()
    with pytest.raises(BudgetError, match="no trial of this sweep uses a GPU"):
        Budget(Limits(gpu_hours=1), {trial.id: trial})


@pytest.mark.parametrize("hours", [-1, float("nan"), "1", True])
def test_a_limit_is_a_number_of_hours(hours: Any) -> None:
    for limits in ({"hours": hours}, {"gpu_hours": hours}):
        with pytest.raises(BudgetError, match="is no number of hours from 0 on"):
            Limits(**limits)
