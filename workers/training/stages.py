"""Handlers of the stages that make states."""

from __future__ import annotations

from workers.archive.states import Point
from workers.bench import Context
from workers.endings import NothingEmerged
from workers.lab.points import CHECKPOINT, FULL, Segment
from workers.lab.references import DENSE, State
from workers.lab.stages import Emerge, Graft, Initial, Train
from workers.masks.scope import CriterionError
from workers.models import build, initialise, materialise
from workers.models.state import capture
from workers.pruning.choose import choose_unseen
from workers.pruning.stages import choose_in
from workers.pruning.transfer import graft
from workers.training.early_bird import Watch
from workers.training.loop import scales_of
from workers.training.segments import Segments


class InitialHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Initial) -> bool:
        return _holds_beginning(self._context, stage)

    def make(self, stage: Initial) -> None:
        context = self._context
        family = context.built(stage.line.slim)
        materialise(family, context.device)
        initialise(family, context.trial.seed.init, stage.draw)
        context.archive.commit_point(State(stage.line, 0), FULL, Point(capture(family, {}), None))


class GraftHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Graft) -> bool:
        return _holds_beginning(self._context, stage)

    def make(self, stage: Graft) -> None:
        context = self._context
        source = context.point(stage.source).tensors
        onto = context.point(stage.onto, moments=True).tensors
        giver = build(stage.giver.model, stage.giver.image)
        grafted = graft(source, onto, giver, context.built(None), stage.bodies)
        context.archive.commit_point(stage.state, FULL, Point(grafted, None))


class TrainHandler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._segments = Segments(context)

    def holds(self, stage: Train) -> bool:
        return not self._segments.missing(stage.line, self._points(stage))

    def make(self, stage: Train) -> None:
        self._segments.train_through(stage.line, self._points(stage), stage.key)

    def _points(self, stage: Train) -> dict[int, str]:
        """The points of a line that the plan needs, up to the last epoch of a stage.

        A line can start at the epoch where a mask emerged. A plan does not know this epoch, so it can also contain
        earlier points. They are left out.
        """
        points = self._context.wanted.points[stage.line.key]
        return {epoch: kept for epoch, kept in points.items() if stage.line.start <= epoch <= stage.to}


class EmergeHandler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._segments = Segments(context)

    def holds(self, stage: Emerge) -> bool:
        archive = self._context.archive
        if archive.mask(stage.key) is None:
            return False
        epoch, kept = archive.emergence(stage.key), archive.held(stage.line.key).full
        return epoch is not None and epoch in kept and epoch <= stage.last

    def make(self, stage: Emerge) -> None:
        epoch = self._emerge(stage)
        choose_in(self._context, stage, State(stage.line, epoch), DENSE, epoch=epoch)

    def _emerge(self, stage: Emerge) -> int:
        """Train a line until the mask of a stage emerges, and return that epoch. Its full state is kept.

        The points that the plan needs of the line are trained first. Their training already watches for masks.

        Raises:
            NothingEmerged: if no mask emerges.
            CriterionError: before any training, if the criterion cannot be applied to the network.
        """
        context = self._context
        self._check(stage)
        for epoch in context.wanted.points_before(stage):
            context.perform(Train(stage.line, epoch))
        while not (watch := Watch(stage, context.archive)).over:
            held = context.archive.held(stage.line.key)
            ready = {stage.line.start} | held.full | held.checkpoint
            begin = max(epoch for epoch in ready if epoch <= watch.epoch)
            self._segments.train(stage.line, Segment(begin, stage.last, CHECKPOINT), stage.key, searched=stage)
        if not watch.rests:
            raise NothingEmerged(
                f"no mask came to rest in {stage.last} epochs: of {stage.look_back} masks that no tie decided, the "
                f"newest differed from another by {watch.nearest:.3g} at least, and delta is {stage.delta:g}",
                stage.last,
            )
        self._segments.train_through(stage.line, {watch.epoch: FULL}, stage.key)
        return watch.epoch

    def _check(self, stage: Emerge) -> None:
        assert stage.line.origin is not None
        family = self._context.family_at(stage.line.origin)
        choose_unseen(family, stage.by, stage.density)
        if stage.line.steps.l1 and not scales_of(family.networks):
            raise CriterionError("l1: this network has no batch norms whose scales it could weigh")


def _holds_beginning(context: Context, stage: Initial | Graft) -> bool:
    return stage.line.begins in context.archive.held(stage.line.key).full
