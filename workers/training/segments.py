"""The trainer: brings lines to where they are wanted, and watches them for masks on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from workers import device
from workers.archive.states import Point
from workers.lab.points import CHECKPOINT, FULL, WEIGHTS, Segment, missing_segments
from workers.lab.stages import DENSE, Emerge, Graft, Initial, Line, State, Train
from workers.leaving import Interrupted
from workers.models import NORMS, build, initialise, materialise
from workers.models.state import capture, moments_only, weights_only
from workers.pruning.choose import can_be_scored, choose_unseen
from workers.pruning.scope import CriterionError
from workers.pruning.transfer import graft
from workers.reports import EpochTrained, StageCommitted
from workers.training.compact import Trainee
from workers.training.early_bird import Watch
from workers.training.journal import Journal

if TYPE_CHECKING:
    from workers.workbench import Workbench


class NothingEmerged(Exception):
    """No mask came to rest up to `epoch`. A result, not a fault."""

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class Trainer:
    """Performs the stages of a workbench that train."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._archive = bench.archive

    def initialise(self, stage: Initial) -> None:
        family = self._bench.built(stage.line.slim)
        materialise(family, self._bench.device)
        initialise(family, self._bench.trial.seed.init, stage.draw)
        self._archive.commit_point(State(stage.line, 0), FULL, Point(capture(family, {}), None))

    def graft(self, stage: Graft) -> None:
        bench = self._bench
        source = bench.point(stage.source).tensors
        onto = bench.point(stage.onto, moments=True).tensors
        giver = build(stage.giver.model, stage.giver.image)
        grafted = graft(source, onto, giver, bench.built(None), stage.bodies)
        self._archive.commit_point(stage.state, FULL, Point(grafted, None))

    def has_trained(self, stage: Train) -> bool:
        return not self._missing(stage.line, self._points(stage))

    def train(self, stage: Train) -> None:
        self.train_through(stage.line, self._points(stage), stage.key)

    def train_through(self, line: Line, points: Mapping[int, str], stage: str) -> None:
        """Train what is missing of these points of a line, for a stage by its key."""
        while missing := self._missing(line, points):
            self._train(line, missing[0], stage)

    def emerge(self, stage: Emerge) -> int:
        """Train a line until the mask of a stage has emerged; returns that epoch, of which the whole state is kept.

        The points that are wanted of the line come first, and masks are looked for in passing.

        Raises:
            NothingEmerged: if no mask comes to rest.
            CriterionError: before anything is trained, if the network has nothing that could be scored so.
        """
        self._check(stage)
        for epoch in self._bench.wanted.points_before(stage):
            self._bench.perform(Train(stage.line, epoch))
        while not (watch := Watch(stage, self._archive)).over:
            held = self._archive.held(stage.line.key)
            ready = {stage.line.start} | held.full | held.checkpoint
            begin = max(epoch for epoch in ready if epoch <= watch.epoch)
            self._train(stage.line, Segment(begin, stage.last, CHECKPOINT), stage.key, searched=stage)
        if not watch.rests:
            raise NothingEmerged(
                f"no mask came to rest in {stage.last} epochs: of {stage.look_back} masks that no tie decided, the "
                f"newest differed from another by {watch.nearest:.3g} at least, and delta is {stage.delta:g}",
                stage.last,
            )
        self.train_through(stage.line, {watch.epoch: FULL}, stage.key)
        return watch.epoch

    def _check(self, stage: Emerge) -> None:
        assert stage.line.origin is not None
        family = self._bench.family_at(stage.line.origin)
        choose_unseen(family, stage.by, stage.density)
        if stage.line.steps.l1 and not any(isinstance(module, NORMS) for module in family.networks.modules()):
            raise CriterionError("l1: this network has no batch norms whose scales it could weigh")

    def _points(self, stage: Train) -> dict[int, str]:
        """The points of a line that are wanted up to where a stage trains it.

        Of a line that starts where a mask emerged, plans have those before, too, since they cannot know.
        """
        points = self._bench.wanted.points[stage.line.key]
        return {epoch: kept for epoch, kept in points.items() if stage.line.start <= epoch <= stage.to}

    def _missing(self, line: Line, points: Mapping[int, str]) -> list[Segment]:
        return missing_segments(line.start, points, self._archive.held(line.key))

    def _train(self, line: Line, segment: Segment, stage: str, searched: Emerge | None = None) -> None:
        """Train a segment of a line, for a stage by its key; only until a mask that is searched for has emerged."""
        point = self._beginning(line, segment)
        if point is None:
            return  # the point was damaged and is gone now: what is missing has to be worked out again
        if segment.begin == segment.end > line.start:
            self._commit_end(line, segment, point)
            return
        bench = self._bench
        device.reset_peak_memory(bench.device)
        mask = None if line.mask == DENSE else bench.mask(line.mask)
        trainee = Trainee(bench.built(line.slim), mask, point.tensors, bench.trial.recipe, bench.device)
        journal = Journal(line, segment)

        def commit(epoch: int, kept: str) -> None:
            self._archive.commit_point(State(line, epoch), kept, reached(epoch, kept))

        def reached(epoch: int, kept: str) -> Point:
            machine = device.describe(bench.device) | {"peak_bytes": device.peak_memory(bench.device)}
            return Point(trainee.snapshot(), journal.cut(epoch, kept, machine))

        # Of a mask that this network cannot be scored for, the stage that searches for it will say so.
        searched_for = (
            each for each in bench.wanted.emerging.get(line.key, ()) if can_be_scored(trainee.family, each.by)
        )
        watches = [Watch(each, self._archive) for each in searched_for]
        epochs = (segment.begin, segment.end, line.steps)
        for epoch in trainee.train(bench.train_images, bench.trial.seed.order, *epochs):
            number = epoch.number
            trained = journal.add(number, dict(epoch.means))
            bench.listen(
                EpochTrained(bench.trial.id, stage, line.key, number, segment.end, epoch.means, trained.seconds)
            )
            emerged = [watch.stage for watch in watches if watch.look(trainee.family, number)]
            if emerged:
                commit(number, FULL)
            if searched in emerged:
                return
            stop = bench.stops()
            if number < segment.end and not emerged and (stop or journal.due(bench.trial)):
                commit(number, CHECKPOINT)
            if number < segment.end and stop:
                raise Interrupted
        self._commit_end(line, segment, reached(segment.end, segment.kept))

    def _beginning(self, line: Line, segment: Segment) -> Point | None:
        """The point that a segment goes on from."""
        if segment.begin == line.start:
            return Point(self._origin(line), None)
        return self._archive.point(State(line, segment.begin), moments=True)

    def _origin(self, line: Line) -> dict[str, Tensor]:
        """The state that a line begins at, with the moments that its optimizer begins with."""
        assert line.origin is not None
        weights = weights_only(self._bench.point(line.origin).tensors)
        if line.moments is None:
            return weights
        return weights | moments_only(self._bench.point(line.moments, moments=True).tensors)

    def _commit_end(self, line: Line, segment: Segment, point: Point) -> None:
        """Commit the end of a segment. Where its moments are not kept and the line goes on, a checkpoint holds them."""
        end = State(line, segment.end)
        held, wanted = self._archive.held(line.key), self._bench.wanted.points.get(line.key, {}).items()
        ahead = any(epoch > segment.end and not held.has(epoch, kept) for epoch, kept in wanted)
        goes_on = segment.kept == WEIGHTS and ahead
        if goes_on:
            self._archive.commit_point(end, CHECKPOINT, point)
        self._archive.commit_point(end, segment.kept, point)
        self._archive.drop_checkpoints(line.key, before=segment.end if goes_on else segment.end + 1)
        self._bench.listen(StageCommitted(self._bench.trial.id, end.key))
