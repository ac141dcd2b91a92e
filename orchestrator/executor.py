"""Executors: where the trials of a plan run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.plan import PlannedTrial
from search_spaces.trial import Trial
from workers.points import Points
from workers.profiles import Profile, profile_key
from workers.reports import Listener
from workers.store import Store


@dataclass(frozen=True)
class Work:
    """The trials of a plan that are to be run, in its order, and what of its stages `store` holds already."""

    trials: Sequence[PlannedTrial]
    points: Points
    held: Collection[str]
    store: Store


class Executor(Protocol):
    """Runs trials somewhere, and knows what they cost there."""

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """The profile of every trial, by its id."""

    def run(self, work: Work, listen: Listener, stop: Callable[[], bool]) -> None:
        """Run all trials until they have ended or `stop` says so; each that ends leaves its rows in the store."""


class InProcess:
    """Runs one trial after the other in this process."""

    # Torch is imported by the methods, so that a process which only plans or reads results never loads it.

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        from workers.profiling import profile_or_unknown

        return profiles_by_trial(trials, lambda trial: profile_or_unknown(trial, store))

    def run(self, work: Work, listen: Listener, stop: Callable[[], bool]) -> None:
        from workers.trial import run_trial
        from workers.workbench import Interrupted

        for planned in work.trials:
            try:
                run_trial(planned.trial, work.store, work.points, listen, stop)
            except Interrupted:
                return


def profiles_by_trial(trials: Sequence[Trial], measure: Callable[[Trial], Profile]) -> dict[str, Profile]:
    """The profile of every trial, measured once for all trials that have the same."""
    keys = {trial.id: profile_key(trial) for trial in trials}
    distinct = {keys[trial.id]: trial for trial in trials}
    measured = {key: measure(trial) for key, trial in distinct.items()}
    return {trial: measured[key] for trial, key in keys.items()}
