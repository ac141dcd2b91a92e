"""What a person sees while trials run."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import make_plan
from orchestrator.planning.work import Work
from orchestrator.pricing.expected import Expected
from orchestrator.terminal.progress import SweepProgress
from tests.toys import toy_trials
from workers.lab.stages import Evaluate, Train
from workers.reports import EpochTrained, StageCommitted, TrialEnded, TrialLeft, TrialStarted
from workers.store.backends import Store


def training_alone(work: Work) -> Expected:
    """A minute an epoch, and nothing besides."""
    nothing = dict.fromkeys(work.plan.stages, 0.0)
    return Expected(dict.fromkeys(work.plan.lines, 60.0), nothing, dict.fromkeys(work.by_id, 0.0), set())


def plain(text: str) -> str:
    """What a terminal shows of a text, without colours and the like."""
    return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", text)


def shown(store: Store, *, terminal: bool, width: int = 160) -> str:
    """What is printed of two trials of which one ends and one is lost."""
    trials = toy_trials(seeds=2, sparsities=[0.2])
    plan = make_plan(trials)
    work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, markup=False)
    first, second = (planned.trial.id for planned in work.trials)
    stage = next(stage for stage in work.by_id[first].stages.values() if isinstance(stage, Train))
    with SweepProgress(console, work, training_alone(work)) as progress:
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
    text = plain(shown(store, terminal=True))
    assert "epochs" in text
    assert "0/2 trials ended, 2 running" in text
    # of 4 epochs dense and 3 pruned one is trained; at a minute each six are left
    assert re.search(r"1/1 +6m00s left +training 1/2, loss 0.5", text)
    assert "seed 1/1: lost its worker" in text


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_still_shows_what_is_left(store: Store, width: int) -> None:
    lines = re.split(r"[\r\n]+", plain(shown(store, terminal=True, width=width)))
    overall = [line for line in lines if re.search(r"^epochs .* 1/14 \d+m\d+s left 0/2 tria", line)]
    running = [line for line in lines if re.search(r"^imp 0.* \S* *1/1 +6m00s left +training 1/2", line)]
    assert overall
    assert running
    assert max(map(len, overall + running)) <= width


def test_plain_lines_say_how_trials_ended(store: Store) -> None:
    text = shown(store, terminal=False)
    assert "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["left", "done"]


def test_measuring_counts_in_the_time_left_until_it_is_done(store: Store) -> None:
    trials = toy_trials(seeds=2, sparsities=[0.2])
    plan = make_plan(trials)
    work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
    evaluations = {key for key, stage in plan.stages.items() if isinstance(stage, Evaluate)}
    stages = {key: 600.0 if key in evaluations else 0.0 for key in plan.stages}
    expected = Expected(dict.fromkeys(plan.lines, 60.0), stages, dict.fromkeys(work.by_id, 30.0), evaluations)
    progress = SweepProgress(Console(file=io.StringIO()), work, expected)
    assert progress._left() == 14 * 60 + 2 * 630
    first, second = (planned for planned in work.trials)
    progress.listen(TrialStarted(first.trial.id))
    for line, end in first.ends.items():
        progress.listen(EpochTrained(first.trial.id, "", line, end.most, end.most, {}, 0.0))
    assert progress._trial_left(first) == 630
    (evaluation,) = evaluations & set(first.stages)
    progress.listen(StageCommitted(first.trial.id, evaluation))
    assert progress._trial_left(first) == 30
    progress.listen(TrialEnded(first.trial.id, "done"))
    progress.listen(TrialEnded(second.trial.id, "failed", "out of ink"))
    assert progress._left() == 0
