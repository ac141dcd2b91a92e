"""The driver: keeps workers busy with the trials of a plan, until all have ended or it is asked to stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, assert_never

from orchestrator.cluster.machines import ClusterError
from orchestrator.cluster.pool import MEMORY, NODE, PROCESS, Event, Lost, Worker
from orchestrator.cluster.schedule import Schedule
from orchestrator.cluster.trial_actor import Crashed, Message, RanOutOfMemory, Ready, StoreBroke
from orchestrator.execution.faults import DEATHS, DISPLACEMENTS, OUT_OF_MEMORY, give_up
from orchestrator.planning.work import Work
from search_spaces.trial import Resources, Trial
from workers.lab.points import Wanted
from workers.reports import EpochTrained, Listener, StageCommitted, TrialEnded, TrialLeft, TrialStarted, Warned
from workers.store.backends import Store, StoreError

TICK = 0.25
"""Most seconds between two checks of how many workers are needed and whether to stop."""

STILLBORN = 10
"""Number of workers that may fail in a row before one is ready; then the driver gives up."""


class Workers(Protocol):
    """What the driver needs of a pool. Iterating gives the workers that are ready."""

    def __iter__(self) -> Iterator[Worker]: ...
    def resize(self, wanted: Mapping[Resources, int]) -> None: ...
    def run(self, worker: Worker, trial: Trial, wanted: Wanted) -> None: ...
    def rest(self, worker: Worker) -> None: ...
    def events(self, timeout: float) -> list[Event]: ...
    def stop(self) -> None: ...
    def let_go(self, worker: Worker) -> None: ...
    @property
    def patience(self) -> float: ...
    @property
    def capacity(self) -> tuple[float, float]: ...


class Driver:
    """Runs `work` on a pool of workers. It calls `stop` all the time to ask whether to leave."""

    def __init__(
        self, work: Work, pool: Workers, store: Store, listen: Listener, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._work, self._pool, self._store = work, pool, store
        self._listen, self._stop = listen, stop
        self._shapes = {planned.trial.id: planned.trial.resources for planned in work.trials}
        self._distinct_shapes = set(self._shapes.values())
        self._committed = set(work.inventory.held)
        needs = {trial_id: work.needs(trial_id) for trial_id in self._shapes}
        self._schedule = Schedule(needs, self._committed, self._shapes)
        self._wanted: Counter[Resources] = Counter()
        self._busy: dict[str, Worker] = {}
        self._alone: dict[str, str | None] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        self._stillborn = 0
        self._stopping = False
        self._error: Exception | None = None
        self._looked = self._seen_alive = time.monotonic()

    def run(self) -> None:
        """Run every trial, or as many as possible until `stop` returns True.

        Raises:
            ClusterError: if no worker can be started; all committed work is kept.
            StoreError: if the store cannot be used.
            RuntimeError: if tombola itself fails in a worker.
        """
        self._resize()
        while len(self._schedule) and (self._busy or not self._stopping):
            if self._stop() and not self._stopping:
                self._leave()
            if not self._stopping:
                if time.monotonic() - self._looked > TICK:
                    self._resize()
                self._hand_out()
            for worker, message in self._pool.events(TICK):
                self._heed(worker, message)
            self._check_hope()
        if self._error:
            raise self._error

    def _leave(self, error: Exception | None = None) -> None:
        """Ask all trials to commit their current epoch and leave; start no others."""
        self._error = self._error or error
        self._stopping = True
        self._pool.stop()

    def _resize(self) -> None:
        self._looked = time.monotonic()
        self._wanted = self._allotment()
        self._pool.resize(self._wanted)

    def _allotment(self) -> Counter[Resources]:
        """How many workers of each shape have work. If room is short, earlier trials of the plan come first."""
        wanted = Counter(self._shapes[trial_id] for trial_id in {**self._busy, **self._alone})
        if len(self._distinct_shapes) == 1:
            (shape,) = self._distinct_shapes
            wanted[shape] += self._schedule.ready(shape)
            return wanted
        cpus, gpus = self._pool.capacity
        cpus -= sum(shape.cpus * number for shape, number in wanted.items())
        gpus -= sum(shape.gpus * number for shape, number in wanted.items())
        for shape in (self._shapes[trial_id] for trial_id in self._schedule.first_ready(1000)):
            cpus, gpus = cpus - shape.cpus, gpus - shape.gpus
            if cpus < 0 or gpus < 0:
                break  # a later trial does not take the room of an earlier one
            wanted[shape] += 1
        return wanted

    def _hand_out(self) -> None:
        for trial_id in self._alone.keys() - self._busy.keys():
            self._hand_out_alone(trial_id)
        busy = Counter(self._shapes[trial_id] for trial_id in self._busy)
        reserved = set(self._alone.values())
        for worker in self._pool:
            shape = worker.resources
            if worker.trial_id is None and worker.node not in reserved and busy[shape] < self._wanted[shape]:
                next_trial = self._schedule.start(shape)
                if next_trial is not None:
                    busy[shape] += 1
                    self._start(worker, next_trial)

    def _hand_out_alone(self, trial_id: str) -> None:
        """Reserve a machine for a trial that ran out of memory, and start the trial when nothing else runs there."""
        load = Counter(worker.node for worker in self._busy.values())
        able = [worker for worker in self._pool if worker.resources == self._shapes[trial_id]]
        if self._alone[trial_id] not in {worker.node for worker in able}:
            taken = set(self._alone.values())
            free = {worker.node for worker in able if worker.node and worker.node not in taken}
            self._alone[trial_id] = min(sorted(free), key=load.__getitem__, default=None)
        reserved = self._alone[trial_id]
        if reserved is not None and not load[reserved]:
            self._start(next(worker for worker in able if worker.node == reserved), trial_id)

    def _start(self, worker: Worker, trial_id: str) -> None:
        self._busy[trial_id] = worker
        self._pool.run(worker, self._work.by_id[trial_id].trial, self._work.wanted_of(trial_id))

    def _heed(self, worker: Worker, message: Message | Lost) -> None:
        match message:
            case Ready():
                self._stillborn = 0
            case StageCommitted():
                self._listen(message)
                self._commit(message)
            case TrialEnded():
                self._rest(worker)
                self._end(message)
            case TrialLeft():
                self._listen(message)
                self._rest(worker)
                self._schedule.give_back(message.trial_id)
            case RanOutOfMemory():
                self._lose(worker, Lost(MEMORY, message.error))
                self._pool.let_go(worker)
            case Lost():
                self._lose(worker, message)
            case StoreBroke() | Crashed():
                self._rest(worker)
                kind = StoreError if isinstance(message, StoreBroke) else RuntimeError
                self._leave(kind(message.error))
            case TrialStarted() | EpochTrained() | Warned():
                self._listen(message)
            case _:
                assert_never(message)

    def _commit(self, report: StageCommitted) -> None:
        for stage in self._work.reached(report.stage):
            if stage not in self._committed:
                self._committed.add(stage)
                self._schedule.commit(stage)
                for cause in (MEMORY, NODE, PROCESS):
                    del self._losses[report.trial_id, cause]

    def _end(self, report: TrialEnded) -> None:
        self._listen(report)
        self._alone.pop(report.trial_id, None)
        for stage in self._work.failed(report.failure) if report.failure else ():
            self._schedule.fail(stage)
        self._schedule.end(report.trial_id)

    def _rest(self, worker: Worker) -> None:
        if worker.trial_id is not None:
            self._busy.pop(worker.trial_id)
        self._pool.rest(worker)

    def _lose(self, worker: Worker, lost: Lost) -> None:
        """Handle the loss of a worker: try its trial again, or give it up after too many losses."""
        trial_id = worker.trial_id
        if trial_id is None:
            self._stillborn += worker.node is None
            if self._stillborn >= STILLBORN:
                raise ClusterError(f"no worker can be started on this cluster: {lost.why}")
            return
        self._rest(worker)
        self._losses[trial_id, lost.cause] += 1
        losses = self._losses[trial_id, lost.cause]
        why = f"lost its worker: {lost.why}"
        if lost.cause == MEMORY and trial_id in self._alone:
            why = OUT_OF_MEMORY.format(error=lost.why)
        elif lost.cause == MEMORY:
            self._alone[trial_id] = None
            self._listen(TrialLeft(trial_id, f"ran out of memory ({lost.why}), tried again alone"))
            return
        elif losses <= (DISPLACEMENTS if lost.cause == NODE else DEATHS):
            self._listen(TrialLeft(trial_id, f"{why}; tried again"))
            if trial_id not in self._alone:
                self._schedule.give_back(trial_id)
            return
        stage = self._work.unfinished_stage(trial_id, self._committed)
        self._end(give_up(self._work.by_id[trial_id].trial, stage, f"{why} ({losses} times)", self._store))

    def _check_hope(self) -> None:
        """Raise ClusterError if nothing has run for too long and no worker is ready."""
        now = time.monotonic()
        if self._busy or not len(self._schedule) or any(True for _ in self._pool):
            self._seen_alive = now
            return
        if now - self._seen_alive > self._pool.patience:
            raise ClusterError(
                f"no machine of the cluster has taken a trial for {now - self._seen_alive:.0f} seconds, and "
                f"{len(self._schedule)} trials are left; see that there is one with room, then run the sweep again"
            )
