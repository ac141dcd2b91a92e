"""Running what is missing of a plan, with progress shown and interrupts heeded."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator import sweeps
from orchestrator.executor import Executor
from orchestrator.plan import Plan, take_inventory
from orchestrator.progress import SweepProgress
from orchestrator.terminal import out, say
from search_spaces.sweep import Sweep
from workers.store import Store


def run_missing(plan: Plan, sweep: Sweep, stands: sweeps.Standing, store: Store, executor: Executor) -> bool:
    """Run the trials of `plan` that have no rows yet; False if it was interrupted before all had ended."""
    missing = {trial.id: trial for trial in stands.missing}
    ordered = [planned.trial for planned in plan.trials if planned.trial.id in missing]
    profiles = executor.profiles(ordered, store)
    seconds = plan.line_seconds({trial_id: profile.epoch_seconds for trial_id, profile in profiles.items()})
    epochs = {line: n for line, n in take_inventory(plan, store).missing_epochs.items() if line in seconds}
    sweeps.record(sweep, store)
    sweeps.clear_rows(ordered, store)
    with _asked_to_stop() as stop, SweepProgress(out, missing, epochs, seconds) as progress:
        executor.run(ordered, plan.points, store, progress.listen, stop)
        return not stop()


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the trial to leave after its epoch, the second leaves at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("Finishing the epoch; once more leaves at once.")

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
