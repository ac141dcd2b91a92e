"""The schedule: which trial may start when. Trials wait for each other's stages, and never repeat them."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Mapping
from itertools import chain


class Schedule:
    """Hands out trials in plan order, as the stages that they share are committed.

    `needs` has the stages of each trial, in plan order. `kinds` says for each trial what kind of worker can run it.

    A stage that is not committed yet is owned by the first unfinished trial that needs it. A trial is ready when all
    stages that it needs and does not own are committed. It is also ready when a stage that it needs has failed, because
    it then ends at once. The first unfinished trial owns all stages that it needs. So there is always a trial that is
    ready or running.
    """

    def __init__(
        self, needs: Mapping[str, Collection[str]], committed: Collection[str], kinds: Mapping[str, Hashable]
    ) -> None:
        self._order = {trial: position for position, trial in enumerate(needs)}
        self._trials = list(needs)
        self._kinds = kinds
        self._open = {trial: set(stages).difference(committed) for trial, stages in needs.items()}
        self._queues: dict[str, list[str]] = {}
        for trial, stages in self._open.items():
            for stage in stages:
                self._queues.setdefault(stage, []).append(trial)
        for queue in self._queues.values():
            queue.reverse()  # the owner is last, where it is cheap to remove
        self._blocked = dict.fromkeys(needs, 0)
        for queue in self._queues.values():
            for trial in queue[:-1]:
                self._blocked[trial] += 1
        self._unfinished = set(needs)
        self._started: set[str] = set()
        self._doomed: set[str] = set()
        self._ready: dict[Hashable, list[int]] = {kind: [] for kind in kinds.values()}
        self._offered: set[str] = set()
        for trial in needs:
            self._offer(trial)

    def __len__(self) -> int:
        """Number of unfinished trials."""
        return len(self._unfinished)

    def ready(self, kind: Hashable) -> int:
        """Number of trials that a worker of this kind could start now."""
        return len(self._ready[kind])

    def first_ready(self, count: int) -> list[str]:
        """The first trials in plan order that could start now, at most `count`."""
        return [self._trials[position] for position in heapq.nsmallest(count, chain(*self._ready.values()))]

    def start(self, kind: Hashable) -> str | None:
        """The next trial for a worker of this kind, or None if none is ready."""
        if not self._ready[kind]:
            return None
        trial = self._trials[heapq.heappop(self._ready[kind])]
        self._offered.discard(trial)
        self._started.add(trial)
        return trial

    def commit(self, stage: str) -> None:
        """Note that a stage is committed. Trials that waited for it may become ready."""
        queue = self._queues.pop(stage, [])
        for trial in queue:
            self._open[trial].discard(stage)
        for trial in queue[:-1]:
            self._unblock(trial)

    def fail(self, stage: str) -> None:
        """Note that a stage has failed. Trials that need it become ready, because they wait for nothing else."""
        for trial in self._queues.get(stage, []):
            self._doomed.add(trial)
            self._offer(trial)

    def end(self, trial: str) -> None:
        """Note that a trial has ended. A stage that it left undone passes to the next trial that needs it."""
        self._unfinished.discard(trial)
        self._started.discard(trial)
        for stage in self._open.pop(trial):
            queue = self._queues[stage]
            owned = queue[-1] == trial
            queue.remove(trial)
            if not queue:
                del self._queues[stage]
            elif owned:
                self._unblock(queue[-1])

    def give_back(self, trial: str) -> None:
        """Note that a started trial no longer runs. It keeps its stages and may start again."""
        self._started.discard(trial)
        self._offer(trial)

    def _unblock(self, trial: str) -> None:
        self._blocked[trial] -= 1
        self._offer(trial)

    def _offer(self, trial: str) -> None:
        free = self._blocked[trial] == 0 or trial in self._doomed
        if free and trial in self._unfinished and not (trial in self._started or trial in self._offered):
            self._offered.add(trial)
            heapq.heappush(self._ready[self._kinds[trial]], self._order[trial])
