"""Train lines in segments up to the points that a plan needs, and watch them for masks that emerge."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from workers import device
from workers.archive.states import Point
from workers.bench import Context
from workers.endings import Interrupted
from workers.lab.points import CHECKPOINT, FULL, WEIGHTS, Segment, missing_segments
from workers.lab.references import DENSE, Line, State
from workers.lab.stages import Emerge
from workers.models.state import moments_only, weights_only
from workers.pruning.choose import can_be_scored
from workers.reports import EpochTrained, StageCommitted
from workers.training.compact import Trainee
from workers.training.early_bird import Watch
from workers.training.journal import Journal


class Segments:
    """Trains the missing segments of lines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._archive = context.archive

    def missing(self, line: Line, points: Mapping[int, str]) -> list[Segment]:
        """The segments to train until the store has `points` of a line."""
        return missing_segments(line.start, points, self._archive.held(line.key))

    def train_through(self, line: Line, points: Mapping[int, str], stage: str) -> None:
        """Train the missing segments up to `points` of a line. `stage` is the key of the stage that needs them."""
        while missing := self.missing(line, points):
            self.train(line, missing[0], stage)

    def train(self, line: Line, segment: Segment, stage: str, searched: Emerge | None = None) -> None:
        """Train a segment of a line. `stage` is the key of the stage that needs it.

        Training stops early when the mask of the stage `searched` emerges.
        """
        point = self._beginning(line, segment)
        if point is None:
            return  # the point was damaged and is now removed, so the caller must work out again what is missing
        if segment.begin == segment.end > line.start:
            self._commit_end(line, segment, point)
            return
        context = self._context
        device.reset_peak_memory(context.device)
        mask = None if line.mask == DENSE else context.mask(line.mask)
        trainee = Trainee(context.built(line.slim), mask, point.tensors, context.trial.recipe, context.device)
        journal = Journal(line, segment)

        def commit(epoch: int, kept: str) -> None:
            self._archive.commit_point(State(line, epoch), kept, reached(epoch, kept))

        def reached(epoch: int, kept: str) -> Point:
            machine = device.describe(context.device) | {"peak_bytes": device.peak_memory(context.device)}
            return Point(trainee.snapshot(), journal.cut(epoch, kept, machine))

        # If a criterion cannot be applied to this network, the stage that searches for the mask reports the error.
        searched_for = (
            each for each in context.wanted.emerging.get(line.key, ()) if can_be_scored(trainee.family, each.by)
        )
        watches = [Watch(each, self._archive) for each in searched_for]
        epochs = (segment.begin, segment.end, line.steps)
        for epoch in trainee.train(context.train_images, context.trial.seed.order, *epochs):
            number = epoch.number
            trained = journal.add(number, dict(epoch.means))
            context.listen(
                EpochTrained(context.trial.id, stage, line.key, number, segment.end, epoch.means, trained.seconds)
            )
            emerged = [watch.stage for watch in watches if watch.look(trainee.family, number)]
            if emerged:
                commit(number, FULL)
            if searched in emerged:
                return
            stop = context.stop()
            if number < segment.end and not emerged and (stop or journal.due(context.trial)):
                commit(number, CHECKPOINT)
            if number < segment.end and stop:
                raise Interrupted
        self._commit_end(line, segment, reached(segment.end, segment.kept))

    def _beginning(self, line: Line, segment: Segment) -> Point | None:
        """The point that a segment continues from. None if it is damaged."""
        if segment.begin == line.start:
            return Point(self._origin(line), None)
        return self._archive.point(State(line, segment.begin), moments=True)

    def _origin(self, line: Line) -> dict[str, Tensor]:
        """The state at which a line begins, with the initial moments of its optimizer."""
        assert line.origin is not None
        weights = weights_only(self._context.point(line.origin).tensors)
        if line.moments is None:
            return weights
        return weights | moments_only(self._context.point(line.moments, moments=True).tensors)

    def _commit_end(self, line: Line, segment: Segment, point: Point) -> None:
        """Commit the end of a segment.

        If the line continues and the point does not keep moments, a checkpoint keeps them.
        """
        end = State(line, segment.end)
        held, wanted = self._archive.held(line.key), self._context.wanted.points.get(line.key, {}).items()
        ahead = any(epoch > segment.end and not held.has(epoch, kept) for epoch, kept in wanted)
        goes_on = segment.kept == WEIGHTS and ahead
        if goes_on:
            self._archive.commit_point(end, CHECKPOINT, point)
        self._archive.commit_point(end, segment.kept, point)
        self._archive.drop_checkpoints(line.key, before=segment.end if goes_on else segment.end + 1)
        self._context.listen(StageCommitted(self._context.trial.id, end.key))
