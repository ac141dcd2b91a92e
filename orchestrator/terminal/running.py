"""Running the missing trials of a plan, with progress, interrupts and budgets."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from orchestrator import sweeps
from orchestrator.execution.budget import Budget, Limits
from orchestrator.execution.executor import Executor
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import Plan, models_of
from orchestrator.planning.work import Work
from orchestrator.pricing.expected import expect
from orchestrator.terminal.output import out, say
from orchestrator.terminal.progress import SweepProgress, duration
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers.reports import Listener, Report
from workers.store.backends import Store
from workers.store.presence import BEAT

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of a run: trained epochs, seconds of training that sharing saved, and why it stopped early, or None."""

    epochs: int
    seconds_saved: float
    stopped: str | None


def run_missing(
    plan: Plan,
    sweep: Sweep,
    missing: Sequence[Trial],
    store: Store,
    executor: Executor,
    limits: Limits,
    beat: float = BEAT,
    told: Listener = lambda report: None,
) -> Ran:
    """Run the `missing` trials of `plan`, with a sign of life every `beat` seconds.

    `told` gets the reports of trials, in addition to the progress display.

    Raises:
        DriverError: if another process runs the sweep, or took it over while this one was stopped.
        BudgetError: if GPU-hours are limited and no trial uses a GPU.
    """
    work = Work(plan, {trial.id for trial in missing}, take_inventory(plan, store))
    ordered = [planned.trial for planned in work.trials]
    budget = Budget(limits, {trial.id: trial for trial in ordered})
    expected = expect(work.trials, executor.profiles(models_of(work.trials), store))
    remaining = expected.remaining(work.inventory, work.by_id)
    training, measuring = duration(remaining.training), duration(remaining.measuring)
    say(f"expected: {training} of training and {measuring} of measuring, one trial at a time")
    with sweeps.only_driver(sweep, store, beat) as sign:
        sweeps.record(sweep, store)
        sweeps.enroll(sweep, (planned.trial for planned in plan.trials), store)
        sweeps.clear_rows(ordered, store)
        with _asked_to_stop() as asked, SweepProgress(out, work, expected) as progress:

            def listen(report: Report) -> None:
                budget.listen(report)
                progress.listen(report)
                told(report)

            executor.run(work, store, listen, lambda: asked() or budget.spent() is not None or sign.lost())
            if sign.lost() and not progress.all_ended:
                other = sweeps.driver_of(sweep, store, beat)
                raise sweeps.DriverError(
                    f"sweep {sweep.name!r} was taken over by {other} while this process was stopped or out of reach of "
                    f"store {store.uri}; nothing is lost, and it goes on there"
                )
            stopped = None if progress.all_ended else INTERRUPTED if asked() else budget.spent()
    return Ran(progress.trained, work.seconds_alone(expected.epochs) - work.seconds_shared(expected.epochs), stopped)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Ask the running trials to leave after their epoch at the first Ctrl-C; leave at once at the second.

    Yield a function that says whether to stop. Python handles signals only in the main thread; in others it says no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("Finishing the epoch; once more leaves at once.")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
