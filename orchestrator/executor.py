"""Executors: where the trials of a plan run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator.faults import OUT_OF_MEMORY, give_up
from orchestrator.work import Work
from search_spaces.trial import Trial
from workers.profiles import Profile, profile_key
from workers.reports import Listener
from workers.store import Store


class Executor(Protocol):
    """Runs trials somewhere, and knows what they cost there."""

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """The profile of every trial, by its id."""

    def run(self, work: Work, store: Store, listen: Listener, stop: Callable[[], bool]) -> None:
        """Run the trials of `work` until all have ended or `stop` says so; each leaves its rows in `store`."""


class InProcess:
    """Runs one trial after the other in this process."""

    # Torch is imported by the methods, so that a process which only plans or reads results never loads it.

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        from workers.profiling import profile_or_unknown

        return profiles_by_trial(trials, lambda trial: profile_or_unknown(trial, store))

    def run(self, work: Work, store: Store, listen: Listener, stop: Callable[[], bool]) -> None:
        from workers.leaving import Interrupted, OutOfMemory
        from workers.trial import run_trial

        for planned in work.trials:
            try:
                run_trial(planned.trial, store, work.wanted, listen, stop)
            except Interrupted:
                return
            except OutOfMemory as error:
                why = OUT_OF_MEMORY.format(error=error)
                listen(give_up(planned.trial, planned.stages[error.stage], why, store))


def profiles_by_trial(trials: Sequence[Trial], measure: Callable[[Trial], Profile]) -> dict[str, Profile]:
    """The profile of every trial, measured once for all trials that have the same."""
    keys = {trial.id: profile_key(trial) for trial in trials}
    distinct = {keys[trial.id]: trial for trial in trials}
    measured = {key: measure(trial) for key, trial in distinct.items()}
    return {trial: measured[key] for trial, key in keys.items()}
