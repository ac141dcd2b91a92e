"""Executors: where the trials of a plan run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers.points import Points
from workers.reports import Listener
from workers.store import Store

if TYPE_CHECKING:
    from workers.profile import Profile

_log = logging.getLogger("tombola")


class Executor(Protocol):
    """Runs trials somewhere, and knows what they cost there."""

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """The profile of every trial, by its id."""

    def run(
        self, trials: Sequence[Trial], points: Points, store: Store, listen: Listener, stop: Callable[[], bool]
    ) -> None:
        """Run `trials` in their order, until all have ended or `stop` says so; each ends with its rows in `store`."""


class InProcess:
    """Runs one trial after the other in this process."""

    # Torch is imported by the methods, so that a process which only plans or reads results never loads it.

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        from workers.profile import UNKNOWN, profile, profile_key

        keys = {trial.id: profile_key(trial) for trial in trials}
        measured: dict[str, Profile] = {}
        for trial in trials:
            if keys[trial.id] in measured:
                continue
            try:
                measured[keys[trial.id]] = profile(trial, store)
            except TombolaError:
                raise
            except Exception as error:  # noqa: BLE001 - a user's model may raise anything; its trials will say so
                _log.warning("%s cannot be measured, so estimates leave it out: %s", trial.model.name, error)
                measured[keys[trial.id]] = UNKNOWN
        return {trial.id: measured[keys[trial.id]] for trial in trials}

    def run(
        self, trials: Sequence[Trial], points: Points, store: Store, listen: Listener, stop: Callable[[], bool]
    ) -> None:
        from workers.trial import run_trial
        from workers.workbench import Interrupted

        for trial in trials:
            try:
                run_trial(trial, store, points, listen, stop)
            except Interrupted:
                return
