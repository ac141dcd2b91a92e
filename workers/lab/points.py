"""The points of a line that are wanted, and the segments that still have to be trained."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.lab.stages import Emerge, Graft, Select, Stage, Train
from workers.store import names

FULL, WEIGHTS, CHECKPOINT = "full", "weights", "checkpoint"
"""How a point is kept: with optimizer moments, so that training can continue; without; or until its segment ends."""

_STATE_NAME = re.compile(rf"{names.STATES}/[^/]+/(?P<line>[^/]+)/(?P<epoch>\d+)\.(?P<kept>full|weights|checkpoint)")

Points = Mapping[str, Mapping[int, str]]
"""Maps the key of a line to the epochs at which a plan needs a point, and each epoch to how the point is kept."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan wants of each line, by key: points, and the stages whose masks emerge on it."""

    points: Points
    emerging: Mapping[str, Sequence[Emerge]]

    @classmethod
    def by(cls, stages: Iterable[Stage]) -> Wanted:
        """Collect what a set of stages wants."""
        stages = list(stages)
        emerging: defaultdict[str, list[Emerge]] = defaultdict(list)
        for stage in stages:
            if isinstance(stage, Emerge):
                emerging[stage.line.key].append(stage)
        return cls(_points(stages), dict(emerging))

    def of(self, lines: Iterable[str]) -> Wanted:
        """Return what is wanted of some lines."""
        lines = set(lines)
        return Wanted(
            {line: wanted for line, wanted in self.points.items() if line in lines},
            {line: emerging for line, emerging in self.emerging.items() if line in lines},
        )

    def points_before(self, stage: Emerge) -> dict[int, str]:
        """Return the wanted points of the line that are trained before, or while, the mask of `stage` emerges.

        These are all points up to the last epoch of the search. If the line has a later point, the first one is
        included, because training to it passes through that epoch.
        """
        points = self.points.get(stage.line.key, {})
        through = min((epoch for epoch in points if epoch >= stage.last), default=stage.last)
        return {epoch: kept for epoch, kept in points.items() if epoch <= through}


def _points(stages: Iterable[Stage]) -> dict[str, dict[int, str]]:
    """Return the points that a set of stages needs.

    The last point of a line, and the points that a selection compares, are kept as weights only, unless another line
    starts there. All other points are kept in full, because later tickets may start there.
    """
    wanted: defaultdict[str, set[int]] = defaultdict(set)
    origins, seen = set(), set()
    for stage in stages:
        if isinstance(stage, Train):
            assert stage.line.origin is not None
            wanted[stage.line.key].add(stage.to)
            origins.add(stage.line.origin.key)
            if stage.line.moments is not None:
                origins.add(stage.line.moments.key)
        elif isinstance(stage, Graft):
            origins.add(stage.onto.key)
        elif isinstance(stage, Select):
            seen |= {candidate.state.key for candidate in stage.candidates}
    ends = {f"{line}@{max(epochs)}" for line, epochs in wanted.items()}
    light = (seen | ends) - origins
    return {
        line: {epoch: WEIGHTS if f"{line}@{epoch}" in light else FULL for epoch in sorted(epochs)}
        for line, epochs in wanted.items()
    }


@dataclass
class Held:
    """The epochs of one line that a store holds, grouped by how their points are kept."""

    full: set[int] = field(default_factory=set)
    weights: set[int] = field(default_factory=set)
    checkpoint: set[int] = field(default_factory=set)

    def add(self, epoch: int, kept: str) -> None:
        {FULL: self.full, WEIGHTS: self.weights, CHECKPOINT: self.checkpoint}[kept].add(epoch)

    def has(self, epoch: int, kept: str) -> bool:
        return epoch in self.full or (kept == WEIGHTS and epoch in self.weights)

    @classmethod
    def parse(cls, state_names: Iterable[str]) -> dict[str, Held]:
        """Return what a store holds of each line, given the names of its states."""
        held: defaultdict[str, Held] = defaultdict(cls)
        for name in state_names:
            if found := _STATE_NAME.fullmatch(name):  # ignores other files
                held[found["line"]].add(int(found["epoch"]), found["kept"])
        return dict(held)


@dataclass(frozen=True, slots=True)
class Segment:
    """Epochs of a line to train in one go: from an existing point to a point that is to be kept."""

    begin: int
    end: int
    kept: str


def missing_segments(start: int, wanted: Mapping[int, str], held: Held) -> list[Segment]:
    """List the segments that a line from epoch `start` still lacks, in order.

    Each segment continues from the latest point, up to its end, that has moments. A segment leaves a checkpoint if
    another one follows. If a stored point has no moments and training must continue from it, the epochs before it are
    trained again.
    """
    ready = {start} | held.full | held.checkpoint
    segments = []
    for epoch, kept in sorted(wanted.items()):
        if not held.has(epoch, kept):
            segments.append(Segment(max(e for e in ready if e <= epoch), epoch, kept))
            ready.add(epoch)
    return segments
