"""The pool: trial actors on the machines of a cluster, made and let go as there is work for them."""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.machines import ClusterError, capacity, grows, is_alive, room
from orchestrator.cluster.trial_actor import Message, Ready, TrialActor
from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Resources, Trial
from workers import data
from workers.data import Split
from workers.lab.points import Wanted
from workers.profiles.profile import UNKNOWN, Profile
from workers.store.backends import Store

_log = logging.getLogger("tombola")

MEMORY, PROCESS, NODE = "memory", "process", "node"
"""What took a worker: the memory of its machine ran out, its process died, or its machine is gone."""

WAITING = 16
"""Actors at most that wait for a cluster to grow while it has none; later as many as it has."""

PATIENCE, GROWTH = 600.0, 1800.0
"""Seconds to wait for a first worker: where machines are given, and where they have to join first."""

LINGER = 60.0
"""Seconds that a worker nobody has work for stays, so that a growing cluster does not let go of machines too early."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone, and with it whatever it was doing."""

    cause: str
    why: str


@dataclass(eq=False)
class Worker:
    """A trial actor. It is ready once its node is known, and then until it is lost or let go."""

    number: int
    resources: Resources
    actor: Any
    stream: Any
    node: str | None = None
    lent: set[DatasetSpec] = field(default_factory=set)
    trial_id: str | None = None
    idle_since: float = field(default_factory=time.monotonic)


Event = tuple[Worker, Message | Lost]


class Pool:
    """Trial actors that work on one store, `most` of them at once if that is said.

    `witness` names an object there, by which an actor tells that store.
    """

    def __init__(self, store: Store, actor_class: type[TrialActor] = TrialActor, most: int | None = None) -> None:
        self.store = store
        self.witness: str | None = None
        self._most = math.inf if most is None else most
        make: Any = ray.remote
        self._class: Any = make(concurrency_groups={"messages": 1, "control": 1})(actor_class)
        self._workers: dict[Any, Worker] = {}
        self._numbers = count()
        self._images: dict[DatasetSpec, ray.ObjectRef[Split]] = {}

    def __iter__(self) -> Iterator[Worker]:
        """The workers that are ready, the longest-serving first."""
        ready = (worker for worker in self._workers.values() if worker.node is not None)
        return iter(sorted(ready, key=lambda worker: worker.number))

    @property
    def patience(self) -> float:
        """Seconds that it may take until a first worker is ready."""
        return GROWTH if grows() else PATIENCE

    @property
    def capacity(self) -> tuple[float, float]:
        """CPU cores and GPUs of all machines that there are or may be."""
        return capacity()

    def resize(self, wanted: Mapping[Resources, int]) -> None:
        """Make workers up to the numbers wanted, as far as there is or may come room, and let superfluous ones go."""
        have = Counter(worker.resources for worker in self._workers.values())
        starved = False
        for resources, number in wanted.items():
            waiting = sum(w.node is None for w in self._workers.values() if w.resources == resources)
            limit = room(resources)
            if grows():
                limit = max(limit, have[resources] - waiting + max(WAITING, have[resources] - waiting))
            for _ in range(min(number, limit) - have[resources]):
                if self._is_full:
                    starved = True
                    break
                self._add(resources)
            starved |= bool(waiting)
        for worker in list(self._workers.values()):
            superfluous = have[worker.resources] > wanted.get(worker.resources, 0) and worker.trial_id is None
            rested = time.monotonic() - worker.idle_since > LINGER
            if superfluous and (worker.node is None or starved or rested):
                have[worker.resources] -= 1
                self.let_go(worker)

    def run(self, worker: Worker, trial: Trial, wanted: Wanted) -> None:
        """Give a worker a trial; what becomes of it is told by `events`."""
        if trial.dataset not in worker.lent:
            worker.lent.add(trial.dataset)
            worker.actor.lend.remote(trial.dataset, [self._images_of(trial.dataset, worker)])
        worker.trial_id = trial.id
        # Ray's own pickler looks at every part of a trial in Python, which takes as long as all else here together.
        worker.actor.run.remote(pickle.dumps((trial, wanted)), self.witness)

    def rest(self, worker: Worker) -> None:
        """Take note that a worker has nothing to do."""
        worker.trial_id, worker.idle_since = None, time.monotonic()

    def events(self, timeout: float) -> list[Event]:
        """What has happened, waiting up to `timeout` seconds for something to happen."""
        if not self._workers:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(self._workers), num_returns=1, timeout=timeout, fetch_local=False)
        return [event for stream in ready for event in self._read(stream)]

    def profile(self, trial: Trial) -> Profile:
        """The profile of a trial's model, measured by a worker such as will train it.

        If the worker is lost, this warns and returns UNKNOWN; the trials will report the cause.

        Raises:
            ClusterError: if no worker can be had.
        """
        if not any(worker.resources == trial.resources for worker in self._workers.values()):
            if self._is_full:  # of workers that wait for the first trial
                self.let_go(next(iter(self._workers.values())))
            self._add(trial.resources)
        worker = next(worker for worker in self._workers.values() if worker.resources == trial.resources)
        try:
            profile: Profile = ray.get(worker.actor.profile.remote(trial), timeout=self.patience)
        except GetTimeoutError as error:
            raise ClusterError(
                f"no machine of the cluster has taken a trial for {self.patience:.0f} seconds"
            ) from error
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            _log.warning("a worker was lost while it measured %s: %s", trial.model.name, _reason(error))
            self.let_go(worker)
            return UNKNOWN
        return profile

    def stop(self) -> None:
        """Ask all trials to leave after the epoch they are in."""
        for worker in self._workers.values():
            worker.actor.stop.remote()

    def let_go(self, worker: Worker) -> None:
        """End a worker, whatever it is doing."""
        del self._workers[worker.stream]
        with suppress(RayError):
            ray.kill(worker.actor)

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._workers.values()):
            self.let_go(worker)

    @property
    def _is_full(self) -> bool:
        return len(self._workers) >= self._most

    def _add(self, resources: Resources) -> None:
        actor = self._class.options(num_cpus=resources.cpus, num_gpus=resources.gpus).remote(self.store.uri)
        stream = actor.messages.remote()
        self._workers[stream] = Worker(next(self._numbers), resources, actor, stream)

    def _images_of(self, dataset: DatasetSpec, worker: Worker) -> ray.ObjectRef[Split]:
        # Decoded once, on a machine that trains; every other one fetches them from there once, for all its actors.
        if dataset not in self._images:
            assert worker.node is not None
            there = NodeAffinitySchedulingStrategy(worker.node, soft=True)
            self._images[dataset] = _load.options(scheduling_strategy=there).remote(dataset)
        return self._images[dataset]

    def _read(self, stream: Any) -> list[Event]:
        worker = self._workers.pop(stream)
        self._workers[stream] = worker  # behind all others, so that none is overheard
        try:
            messages: list[Message] = ray.get(next(stream))
        except (RayError, StopIteration) as error:
            lost = _lost(worker, error)
            self.let_go(worker)
            return [(worker, lost)]
        for message in messages:
            if isinstance(message, Ready):
                worker.node = message.node
        return [(worker, message) for message in messages]


@ray.remote(num_cpus=0, max_retries=20, max_calls=1)
def _load(dataset: DatasetSpec) -> Split:
    return data.load(dataset)


def _lost(worker: Worker, error: Exception) -> Lost:
    if isinstance(error, OutOfMemoryError):
        return Lost(MEMORY, _reason(error))
    if worker.node is not None and not is_alive(worker.node):
        return Lost(NODE, "its machine is gone")
    return Lost(PROCESS, _reason(error))


def _reason(error: Exception) -> str:
    """The one line of Ray's pages that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return lines[-1]  # that of the traceback
    told = [line for line in lines if line.startswith("The actor is dead") or "low on memory" in line] or lines
    return told[0].split(". ")[0]
