"""Budgets: how much time and how many GPU-hours a run may use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers.reports import Report, TrialEnded, TrialLeft, TrialStarted


class BudgetError(TombolaError):
    """A limit that is no number of hours, or one on GPU-hours that no trial can ever reach."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Hours that a run may last, and GPU-hours that its trials may use; None means no limit.

    Raises:
        BudgetError: if that is no number, or below 0.
    """

    hours: float | None = None
    gpu_hours: float | None = None

    def __post_init__(self) -> None:
        for name, hours in (("max_hours", self.hours), ("max_gpu_hours", self.gpu_hours)):
            if hours is not None and not (type(hours) in (int, float) and hours >= 0):
                raise BudgetError(f"{name}: {hours!r} is no number of hours from 0 on")


class Budget:
    """Counts what a run uses, from the reports of its trials. A trial uses its share of a GPU while it runs."""

    def __init__(self, limits: Limits, trials: Mapping[str, Trial]) -> None:
        self._limits, self._trials = limits, trials
        self._began = time.monotonic()
        self._since: dict[str, float] = {}
        self._gpu_seconds = 0.0
        if limits.gpu_hours is not None and trials and not any(trial.resources.gpus for trial in trials.values()):
            raise BudgetError("--max-gpu-hours: no trial of this sweep uses a GPU; resources.gpus says how much of one")

    def listen(self, report: Report) -> None:
        if isinstance(report, TrialStarted | TrialEnded | TrialLeft):
            self._gpu_seconds += self._running(report.trial_id)
            self._since.pop(report.trial_id, None)
            if isinstance(report, TrialStarted):
                self._since[report.trial_id] = time.monotonic()

    def spent(self) -> str | None:
        """The limit that is reached, in words, or None."""
        limits, hours = self._limits, (time.monotonic() - self._began) / 3600
        if limits.hours is not None and hours >= limits.hours:
            return f"--max-hours {limits.hours:g} is spent"
        gpu_hours = (self._gpu_seconds + sum(map(self._running, self._since))) / 3600
        if limits.gpu_hours is not None and gpu_hours >= limits.gpu_hours:
            return f"--max-gpu-hours {limits.gpu_hours:g} is spent"
        return None

    def _running(self, trial_id: str) -> float:
        if trial_id not in self._since:
            return 0.0
        return (time.monotonic() - self._since[trial_id]) * self._trials[trial_id].resources.gpus
