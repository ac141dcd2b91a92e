"""What a person sees while trials run."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.inventory import take_inventory
from orchestrator.plan import make_plan
from orchestrator.progress import SweepProgress
from orchestrator.work import Work
from tests.toys import toy_trials
from workers.reports import EpochTrained, TrialEnded, TrialLeft, TrialStarted
from workers.stages import Train
from workers.store import Store


def shown(store: Store, *, terminal: bool) -> str:
    """What is printed of two trials of which one ends and one is lost."""
    trials = toy_trials(seeds=2, sparsities=[0.2])
    plan = make_plan(trials)
    work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160, markup=False)
    first, second = (planned.trial.id for planned in work.trials)
    stage = next(stage for stage in work.by_id[first].stages.values() if isinstance(stage, Train))
    with SweepProgress(console, work, dict.fromkeys(plan.lines, 60.0)) as progress:
        progress.listen(TrialStarted(first))
        progress.listen(TrialStarted(second))
        progress.listen(EpochTrained(first, stage.key, stage.line.key, 1, 1, {"loss": 0.5}, 60.0))
        progress._bar.refresh()  # rather than wait for its next turn
        assert not progress.all_ended
        progress.listen(TrialLeft(second, "lost its worker"))
        progress.listen(TrialEnded(first, "done"))
        assert progress.trained == 1
    return out.getvalue()


def test_a_terminal_has_one_line_for_each_running_trial(store: Store) -> None:
    text = shown(store, terminal=True)
    assert "epochs" in text
    assert "trials: 0/2 ended, 2 running" in text
    # of 4 epochs dense and 3 pruned one is trained; at a minute each six are left
    assert "training 1/2, loss 0.5, 6m00s left" in text
    assert "seed 1/1: lost its worker" in text


def test_plain_lines_say_how_trials_ended(store: Store) -> None:
    text = shown(store, terminal=False)
    assert "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["left", "done"]
