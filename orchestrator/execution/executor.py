"""Executors: where the trials of a plan run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol

from orchestrator.execution.faults import OUT_OF_MEMORY, give_up
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.work import Work
from search_spaces.trial import Trial
from workers import data
from workers.apart import Apart, Died
from workers.lab.stages import Emerge, Stage, Train
from workers.profiles.profile import UNKNOWN, Profile, known_profile, profile_key
from workers.reports import Listener
from workers.store.backends import Store

_log = logging.getLogger("tombola")

KILLED = "%s killed the process that measured it, so estimates leave it out"


class Executor(Protocol):
    """Runs trials on this machine or on a cluster, and gets their profiles there."""

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """Profile of every trial, by id."""

    def run(self, work: Work, store: Store, listen: Listener, stop: Callable[[], bool]) -> None:
        """Run the trials of `work` until all have ended or `stop` returns True. Each leaves its rows in `store`."""


class InProcess:
    """Runs one trial after the other in this process.

    With `debug` it stops at the first error, and keeps it in `error` with its stack frames.

    Models are measured in a separate process. If a model kills that process, its trials fail without being trained
    here, because training would end the whole sweep.
    """

    # Torch is imported where it is needed. So a process that only plans or reads results never loads it.

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self._deadly: set[str] = set()
        self.error: BaseException | None = None

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        return self._measured(_profile, trials, store)

    def profiles_or_sizes(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """Like `profiles`, but without seconds if this machine lacks the GPU to measure them on."""
        return self._measured(_profile_or_sizes, trials, store)

    def run(self, work: Work, store: Store, listen: Listener, stop: Callable[[], bool]) -> None:
        from workers.endings import Interrupted, OutOfMemory
        from workers.trial import run_trial

        for planned in work.trials:
            if self._deadly and (deadly := self._deadly_stage(planned)) is not None:
                listen(give_up(planned.trial, deadly, "a step of it killed the process that measured it", store))
                continue
            try:
                run_trial(planned.trial, store, work.wanted, listen, stop, look=self._look)
            except Interrupted:
                return
            except OutOfMemory as error:
                why = OUT_OF_MEMORY.format(error=error)
                listen(give_up(planned.trial, planned.stages[error.stage], why, store))
            if self.error is not None:
                return

    def _look(self, error: BaseException) -> None:
        if self._debug:
            self.error = error

    def _measured(
        self, measure: Callable[[Trial, Store], Profile], trials: Sequence[Trial], store: Store
    ) -> Mapping[str, Profile]:
        with Apart() as apart:

            def measured(trial: Trial) -> Profile:
                try:
                    return apart.call(measure, trial, store)
                except Died:
                    _log.warning(KILLED, trial.model.name)
                    self._deadly.add(profile_key(trial))
                    return UNKNOWN

            return profiles_by_trial(trials, lambda trial: known_profile(trial, store) or measured(trial))

    def _deadly_stage(self, planned: PlannedTrial) -> Stage | None:
        """The first stage of a trial that trains a model whose measurement killed its process."""
        training = (stage for stage in planned.stages.values() if isinstance(stage, Train | Emerge))
        return next((s for s in training if profile_key(planned.makers[s.key]) in self._deadly), None)


def _profile(trial: Trial, store: Store) -> Profile:
    from workers.profiles.measuring import profile_or_unknown

    return profile_or_unknown(trial, store)


def _profile_or_sizes(trial: Trial, store: Store) -> Profile:
    from workers.device import DeviceError
    from workers.profiles.measuring import sizes_or_unknown

    try:
        return _profile(trial, store)
    except DeviceError:
        return sizes_or_unknown(trial)


def profiles_by_trial(trials: Sequence[Trial], measure: Callable[[Trial], Profile]) -> dict[str, Profile]:
    """Profile of every trial, by id. Trials that have the same profile are measured once."""
    card_of = cache(data.card_or_nominal)  # looking for missing files takes milliseconds
    keys = {trial.id: profile_key(trial, card_of) for trial in trials}
    distinct = {keys[trial.id]: trial for trial in trials}
    measured = {key: measure(trial) for key, trial in distinct.items()}
    return {trial: measured[key] for trial, key in keys.items()}
