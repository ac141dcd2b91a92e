"""Inventory: which stages of a plan a store holds, and which work is left."""

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
    """What a store holds of a plan: stages by key, and the epochs still to be trained, by line.

    A stage also counts as held if data has made it unnecessary. Where data is still to decide how long a line is
    trained, its number of epochs is an upper bound.
    """

    held: frozenset[str]
    missing_epochs: Mapping[str, int]

    @property
    def missing(self) -> int:
        return sum(self.missing_epochs.values())


def take_inventory(plan: Plan, store: Store) -> Inventory:
    """Find out what `store` holds of the stages of `plan`, from names of objects and the facts on emerged masks."""
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
        """Upper bound on the epochs of a line that are still to be trained."""
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
        """Epoch at which a line starts; the earliest possible one if it depends on a mask that has not emerged."""
        emergence = line.origin.emergence if line.origin else None
        stage = None if emergence is None else self._plan.stages[emergence]
        return (self._emerged(stage) if isinstance(stage, Emerge) else None) or line.start

    def _is_passed(self, line: Line, epoch: int) -> bool:
        """Whether a line turned out to start at or after `epoch`, so that nothing is to be done at this epoch."""
        return epoch <= self._start(line) and self._start(line) > line.start

    def _emerged(self, stage: Emerge) -> int | None:
        """Epoch at which a mask emerged, or None: if it has not, if it was too late, or if its state is not stored."""
        fact = self._objects.read_fact(names.pruning(stage.key), Emerged) if stage.object in self._present else None
        if fact is None or fact["epoch"] > stage.last or fact["epoch"] not in self._states(stage.line).full:
            return None
        return int(fact["epoch"])

    def _seen(self, stage: Emerge) -> int:
        """Last epoch that was checked for a mask which has not emerged yet."""
        return next(epoch for epoch in count() if names.glimpse(stage.key, epoch + 1) not in self._present)


def _searched(stage: Emerge, segments: Sequence[Segment], seen: int, moments: set[int]) -> int:
    """Upper bound on the epochs that are trained for a mask to emerge, in addition to those of `segments`.

    The epochs of the segments are checked for the mask as well. `seen` is the last epoch that was checked already.
    Training can continue from the epochs in `moments`.
    """
    passed = seen
    for segment in segments:
        if segment.begin <= passed:
            passed = max(passed, segment.end)
    begin = max(
        epoch for epoch in moments | {segment.end for segment in segments} if epoch <= max(passed, min(moments))
    )
    return max(stage.last - begin, 0) if passed < stage.last else 0
