"""The pool: trial actors on the machines of a cluster. It starts and ends them as the work requires."""

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
"""Why a worker was lost: its machine ran out of memory, its process died, or its machine is gone."""

WAITING = 16
"""Most actors that wait for a cluster to grow. If more than this are ready, as many may wait as are ready."""

PATIENCE, GROWTH = 600.0, 1800.0
"""Seconds to wait for a first worker: if the machines are given, and if they must be added first."""

LINGER = 60.0
"""Seconds that a worker without work stays, so that a growing cluster does not remove machines too early."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is lost, and so is its work since the last commit."""

    cause: str
    why: str


@dataclass(eq=False)
class Worker:
    """A trial actor. It is ready when its node is known, until it is lost or let go."""

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
    """Trial actors that work on one store, at most `most` at once.

    `witness` names an object in that store. An actor that cannot find it has another store.
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
        """The workers that are ready, oldest first."""
        ready = (worker for worker in self._workers.values() if worker.node is not None)
        return iter(sorted(ready, key=lambda worker: worker.number))

    @property
    def patience(self) -> float:
        """Seconds to wait until a first worker is ready."""
        return GROWTH if grows() else PATIENCE

    @property
    def capacity(self) -> tuple[float, float]:
        """CPU cores and GPUs of all machines, including those that the cluster may add."""
        return capacity()

    def resize(self, wanted: Mapping[Resources, int]) -> None:
        """Start workers up to the wanted numbers, as far as there is or will be room, and end unneeded ones."""
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
        """Give a worker a trial; `events` reports what happens to it."""
        if trial.dataset not in worker.lent:
            worker.lent.add(trial.dataset)
            worker.actor.lend.remote(trial.dataset, [self._images_of(trial.dataset, worker)])
        worker.trial_id = trial.id
        # Ray's own pickler visits every part of a trial in Python, which takes as long as everything else here.
        worker.actor.run.remote(pickle.dumps((trial, wanted)), self.witness)

    def rest(self, worker: Worker) -> None:
        """Note that a worker is idle."""
        worker.trial_id, worker.idle_since = None, time.monotonic()

    def events(self, timeout: float) -> list[Event]:
        """What has happened. Waits up to `timeout` seconds for a first event."""
        if not self._workers:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(self._workers), num_returns=1, timeout=timeout, fetch_local=False)
        return [event for stream in ready for event in self._read(stream)]

    def profile(self, trial: Trial) -> Profile:
        """Profile of a trial's model, measured by a worker with the resources of the trial.

        If the worker is lost, this warns and returns UNKNOWN; the trials will report the cause.

        Raises:
            ClusterError: if no worker is ready in time.
        """
        if not any(worker.resources == trial.resources for worker in self._workers.values()):
            if self._is_full:  # with workers that wait for their first trial
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
        """Ask all trials to leave after their current epoch."""
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
        # Decoded once, on a machine that trains. Every other machine fetches the images once, for all its actors.
        if dataset not in self._images:
            assert worker.node is not None
            there = NodeAffinitySchedulingStrategy(worker.node, soft=True)
            self._images[dataset] = _load.options(scheduling_strategy=there).remote(dataset)
        return self._images[dataset]

    def _read(self, stream: Any) -> list[Event]:
        worker = self._workers.pop(stream)
        self._workers[stream] = worker  # last in line, so that every worker is heard
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
    """The line of Ray's long error text with the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return lines[-1]  # the last line of the traceback
    told = [line for line in lines if line.startswith("The actor is dead") or "low on memory" in line] or lines
    return told[0].split(". ")[0]
