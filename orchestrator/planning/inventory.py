"""Taking inventory: what of a plan a store holds, and what is still to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from orchestrator.planning.plan import Plan
from workers.archive.facts import Emerged
from workers.lab.points import FULL, Held, Segment, missing_segments
from workers.lab.references import Line
from workers.lab.stages import Emerge, Evaluate, Graft, Initial, Stage, Train
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects


@dataclass(frozen=True)
class Inventory:
    """What of a plan a store holds: its stages by key, and the epochs of each line that are still to be trained.

    Stages count as held that data has made needless. Where data is yet to decide, the epochs are the most there can be.
    """

    held: frozenset[str]
    missing_epochs: Mapping[str, int]

    @property
    def missing(self) -> int:
        return sum(self.missing_epochs.values())


def take_inventory(plan: Plan, store: Store) -> Inventory:
    """What `store` holds of the stages of `plan`, by the names of its objects alone."""
    stock = _Stock(plan, store)
    return Inventory(
        frozenset(key for key, stage in plan.stages.items() if stock.holds(stage)),
        {key: stock.missing(end.line) for key, end in plan.ends.items()},
    )


class _Stock:
    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan = plan
        self._held = Held.parse(store.list(names.STATES))
        self._present = set(store.list(names.OBJECTS))
        self._objects = Objects(store)

    def holds(self, stage: Stage) -> bool:
        match stage:
            case Initial() | Graft():
                return self._states(stage.line).has(stage.line.begins, FULL)
            case Train():
                kept = self._plan.points[stage.line.key][stage.to]
                return self._states(stage.line).has(stage.to, kept) or self._is_passed(stage.line, stage.to)
            case Emerge():
                return self._emerged(stage) is not None
            case Evaluate():
                return stage.object in self._present or self._is_passed(stage.state.line, stage.state.epoch)
            case _:
                return stage.object in self._present

    def missing(self, line: Line) -> int:
        """The most epochs of a line that are still to be trained."""
        start, held = self._start(line), self._states(line)
        points = {at: kept for at, kept in self._plan.points.get(line.key, {}).items() if at >= start}
        segments = missing_segments(start, points, held)
        searched = [each for each in self._plan.wanted.emerging.get(line.key, ()) if self._emerged(each) is None]
        further = (
            _searched(stage, segments, self._seen(stage), {start} | held.full | held.checkpoint) for stage in searched
        )
        return sum(segment.end - segment.begin for segment in segments) + max(further, default=0)

    def _states(self, line: Line) -> Held:
        return self._held.get(line.key, Held())

    def _start(self, line: Line) -> int:
        """The epoch that a line starts at; where a mask is yet to emerge, the earliest that it can be."""
        emergence = line.origin.emergence if line.origin else None
        stage = None if emergence is None else self._plan.stages[emergence]
        return (self._emerged(stage) if isinstance(stage, Emerge) else None) or line.start

    def _is_passed(self, line: Line, epoch: int) -> bool:
        """Whether a line has turned out to start after an epoch, at which it is therefore not looked at."""
        return epoch <= self._start(line) and self._start(line) > line.start

    def _emerged(self, stage: Emerge) -> int | None:
        """The epoch at which a mask emerged, if it has, in time, and its state is there."""
        fact = self._objects.read_fact(names.pruning(stage.key), Emerged) if stage.object in self._present else None
        if fact is None or fact["epoch"] > stage.last or fact["epoch"] not in self._states(stage.line).full:
            return None
        return int(fact["epoch"])

    def _seen(self, stage: Emerge) -> int:
        """The last epoch at which a mask that has not emerged was looked for."""
        return next(epoch for epoch in count() if names.glimpse(stage.key, epoch + 1) not in self._present)


def _searched(stage: Emerge, segments: Sequence[Segment], seen: int, moments: set[int]) -> int:
    """The most epochs that are trained for a mask to emerge, beside `segments`, where it is looked for in passing.

    `moments` are the epochs that training can go on from.
    """
    passed = seen
    for segment in segments:
        if segment.begin <= passed:
            passed = max(passed, segment.end)
    begin = max(
        epoch for epoch in moments | {segment.end for segment in segments} if epoch <= max(passed, min(moments))
    )
    return max(stage.last - begin, 0) if passed < stage.last else 0
