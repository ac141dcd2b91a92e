"""The executor on Ray: trials in a pool of actors, on this machine or on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from orchestrator.cluster.driver import Driver
from orchestrator.cluster.machines import check_room, connected
from orchestrator.cluster.pool import Pool
from orchestrator.cluster.trial_actor import TrialActor
from orchestrator.execution.executor import profiles_by_trial
from orchestrator.planning.work import Work
from search_spaces.trial import Trial
from workers.profiles.profile import Profile, known_profile
from workers.reports import Listener
from workers.store import names
from workers.store.backends import Store


class OnRay:
    """Runs trials on the Ray cluster at `address`, or on a Ray that it starts on this machine. Use it in a `with`.

    At most `most` trials run at once; None means as many as there is room for.
    """

    def __init__(
        self, address: str | None = None, actor_class: type[TrialActor] = TrialActor, most: int | None = None
    ) -> None:
        self._address, self._actor_class, self._most = address, actor_class, most
        self._open = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> OnRay:
        self._open.enter_context(connected(self._address))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def profiles(self, trials: Sequence[Trial], store: Store) -> Mapping[str, Profile]:
        """Measure the trials on workers like those that will run them, or use what this machine measured before."""
        wanted = Counter(trial.resources for trial in trials)
        check_room(wanted)
        self._workers(store).resize(wanted)  # others start while the first one measures
        return profiles_by_trial(
            trials, lambda trial: known_profile(trial, store) or self._workers(store).profile(trial)
        )

    def run(self, work: Work, store: Store, listen: Listener, stop: Callable[[], bool]) -> None:
        check_room({planned.trial.resources for planned in work.trials})
        pool = self._workers(store)
        pool.witness = next(iter(store.list(names.SWEEPS)), None)
        Driver(work, pool, store, listen, stop).run()

    def _workers(self, store: Store) -> Pool:
        if self._pool is not None and self._pool.store.uri != store.uri:
            self._pool.close()  # its actors write to another store
            self._pool = None
        if self._pool is None:
            self._pool = Pool(store, self._actor_class, self._most)
            self._open.callback(self._pool.close)
        return self._pool
