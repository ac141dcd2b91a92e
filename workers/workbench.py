"""The workbench: the laboratory that does the work, unless the store holds it already."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import assert_never

import torch

from search_spaces.criterion import Criterion
from search_spaces.datasets import DatasetSpec
from search_spaces.models import ModelSpec
from search_spaces.trial import Distances, Trial
from workers import data, device
from workers.archive import Archive, Point
from workers.choosing import choose, in_scope
from workers.costs import narrowed
from workers.data import Images, Labels, Split
from workers.evaluation import classifiers, evaluate, instruments
from workers.evaluation.downstream import Judge
from workers.evaluation.feature_set import feature_set
from workers.evaluation.samples import BATCH, Yardstick
from workers.failures import DIVERGED, ERROR, NO_TICKET, Failure, Failures, StageFailed, subject
from workers.flops import FlopCounter
from workers.journal import Journal
from workers.laboratory import HELD_OUT, SELECTION, Laboratory
from workers.metrics import METRICS
from workers.models import Family, build, initialise, materialise
from workers.points import CHECKPOINT, FULL, WEIGHTS, Segment, Wanted, missing_segments
from workers.pruning import Mask
from workers.randomness import generator
from workers.redrawing import redraw
from workers.reports import EpochTrained, Listener, StageCommitted
from workers.snapshot import capture, restore, weights_only
from workers.stages import (
    DENSE,
    Emerge,
    Evaluate,
    Features,
    Fit,
    Initial,
    Line,
    MaskKey,
    Prune,
    Redraw,
    Select,
    Slim,
    Stage,
    State,
    Train,
)
from workers.store import Store, StoreError
from workers.trainee import Trainee
from workers.training import Diverged
from workers.watch import Watch


class Interrupted(Exception):
    """The trial was asked to stop, and has committed the epoch it was in."""


class NothingEmerged(Exception):
    """No mask came to rest as long as one was searched for. A result, not a fault."""


class OutOfMemory(Exception):
    """A stage ran out of memory: a matter of the machine and of what else runs there, so no failure of the stage."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Workbench(Laboratory):
    """Performs the stages of one trial.

    `wanted` is what the plan of the whole sweep wants of the lines. `stop` is asked after every epoch whether to
    leave. `load` gives the images of a data set.
    """

    def __init__(
        self,
        trial: Trial,
        store: Store,
        wanted: Wanted,
        listen: Listener,
        stop: Callable[[], bool] = lambda: False,
        load: Callable[[DatasetSpec], Split] = data.load,
    ) -> None:
        super().__init__(trial, data.card(trial.dataset))
        self.archive = Archive(store)
        self._failures = Failures(self.archive.objects)
        self._wanted = wanted
        self._listen = listen
        self._stop = stop
        self._load = load
        self._device = device.prepare(trial.resources)
        self._narrow: dict[Slim, ModelSpec] = {}

    def perform(self, stage: Stage) -> None:
        """See to it that what `stage` makes is in the store.

        Raises:
            StageFailed: if it fails, or is recorded to have failed before.
            Interrupted: if the trial is to stop.
            OutOfMemory: if it needs more memory than there is.
        """
        if not self._is_done(stage):
            if self._stop():
                raise Interrupted
            if failure := self._failures.of(stage):
                raise StageFailed(failure)
            self._try(stage)
        self._listen(StageCommitted(self.trial.id, stage.key))

    def _try(self, stage: Stage) -> None:
        try:
            self._make(stage)
        except Diverged as error:
            line = Train(stage.line, stage.last) if isinstance(stage, Emerge) else stage
            raise self._failed(line, DIVERGED, error) from error
        except NothingEmerged as error:
            raise self._failed(stage, NO_TICKET, error) from error
        except (Interrupted, StageFailed, StoreError, OutOfMemory):
            raise
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise OutOfMemory(stage.key, f"{type(error).__name__}: {error}".splitlines()[0]) from error
        except Exception as error:  # whatever a model, a data set or a plugin raises is this stage's failure
            raise self._failed(stage, ERROR, error) from error

    def mask(self, key: MaskKey) -> Mask:
        """A mask that the program has asked for."""
        if key == DENSE:
            scope = self.trial.finder.scope if self.trial.finder else None
            return Mask.dense(in_scope(self._built(None), scope))
        mask = self.archive.mask(key)
        if mask is None:
            self.perform(self.stages[key])
            mask = self.archive.mask(key)
            assert mask is not None, f"mask {key} is gone right after it was made"
        return mask

    def point(self, state: State, *, moments: bool = False) -> Point:
        """A state that the program has asked for, made again if it has been damaged since."""
        point = self.archive.point(state, moments=moments)
        if point is None:
            self.perform(self.stages[state.key])
            point = self.archive.point(state, moments=moments)
            assert point is not None, f"state {state.key} is gone right after it was made"
        return point

    def _is_done(self, stage: Stage) -> bool:
        match stage:
            case Initial():
                return 0 in self.archive.held(stage.line.key).full
            case Train():
                return not self._missing(stage.line, self._points(stage))
            case Features():
                return self._are_taken(stage)
            case Select():
                fact = self.archive.selection(stage.key)
                return fact is not None and self.archive.evaluation(fact["evaluation"]) is not None
            case _:
                return self.archive.objects.read(stage.object) is not None

    def _are_taken(self, stage: Features) -> bool:
        """Whether features of real images are there, taken with the weights that fakes will be seen with."""
        found = instruments.real_features(self.archive.store, stage.key)
        if found is None:
            return False
        if found.network == self._network(stage.distances).sha256:
            return True
        instruments.forget_features(self.archive.store, stage.key)
        return False

    def _network(self, distances: Distances) -> instruments.Network:
        return instruments.network(self.archive.store, distances, self._device)

    def _make(self, stage: Stage) -> None:
        match stage:
            case Initial():
                self._initialise(stage)
            case Train():
                self._train_through(stage.line, self._points(stage), stage.key)
            case Prune():
                self._prune(stage)
            case Emerge():
                self._emerge(stage)
            case Redraw():
                self._redraw(stage)
            case Fit():
                self._fit_classifier(stage)
            case Features():
                self._take_features(stage)
            case Evaluate():
                self._evaluate(stage)
            case Select():
                self._select(stage)
            case _:
                assert_never(stage)

    def _points(self, stage: Train) -> dict[int, str]:
        """The points of a line that are wanted up to where a stage trains it."""
        points = self._wanted.points[stage.line.key]
        return {epoch: kept for epoch, kept in points.items() if epoch <= stage.to}

    def _missing(self, line: Line, points: Mapping[int, str]) -> list[Segment]:
        return missing_segments(line.start, points, self.archive.held(line.key))

    def _initialise(self, stage: Initial) -> None:
        family = self._built(stage.line.slim)
        materialise(family, self._device)
        initialise(family, self.trial.seed.init, stage.draw)
        self.archive.commit_point(State(stage.line, 0), FULL, Point(capture(family, {}), None))

    def _train_through(self, line: Line, points: Mapping[int, str], stage: str) -> None:
        while missing := self._missing(line, points):
            self._train(line, missing[0], stage)

    def _train(self, line: Line, segment: Segment, stage: str, until: Callable[[], bool] = lambda: False) -> None:
        """Train a segment of a line, for a stage by its key, or less of it if `until` says so after an epoch."""
        point = self._beginning(line, segment)
        if point is None:
            return  # the point was damaged and is gone now: what is missing has to be worked out again
        if segment.begin == segment.end > line.start:
            self._commit_end(line, segment, point)
            return
        device.reset_peak_memory(self._device)
        mask = None if line.mask == DENSE else self.mask(line.mask)
        trainee = Trainee(self._built(line.slim), mask, point.tensors, self.trial.recipe, self._device)
        journal = Journal(line, segment)

        def reached(epoch: int, kept: str) -> Point:
            machine = device.describe(self._device) | {"peak_bytes": device.peak_memory(self._device)}
            return Point(trainee.snapshot(), journal.cut(epoch, kept, machine))

        watches = self._watches(line)
        epochs = (segment.begin, segment.end, line.steps)
        for epoch in trainee.train(self._train_images, self.trial.seed.order, *epochs):
            number = epoch.number
            trained = journal.add(number, dict(epoch.means))
            self._listen(
                EpochTrained(self.trial.id, stage, line.key, number, segment.end, epoch.means, trained.seconds)
            )
            found = [(watch, chosen) for watch in watches if (chosen := watch.look(trainee.family, number))]
            stop = self._stop()
            if found:
                self.archive.commit_point(State(line, number), FULL, reached(number, FULL))
            for watch, chosen in found:
                self.archive.commit_pruning(watch.stage.key, chosen.mask, watch.fact(chosen))
                self._listen(StageCommitted(self.trial.id, watch.stage.key))
            if until():
                return
            if number < segment.end and (stop or journal.due(self.trial)):
                if not found:
                    self.archive.commit_point(State(line, number), CHECKPOINT, reached(number, CHECKPOINT))
                if stop:
                    raise Interrupted
        self._commit_end(line, segment, reached(segment.end, segment.kept))

    def _beginning(self, line: Line, segment: Segment) -> Point | None:
        """The point that a segment goes on from."""
        assert line.origin is not None
        if segment.begin == line.start:
            return self.point(line.origin, moments=True)
        return self.archive.point(State(line, segment.begin), moments=True)

    def _watches(self, line: Line) -> list[Watch]:
        """Those who look at a line for masks that have not emerged yet."""
        watches = [Watch(stage, self.archive) for stage in self._wanted.emerging.get(line.key, ())]
        return [watch for watch in watches if not watch.over]

    def _commit_end(self, line: Line, segment: Segment, point: Point) -> None:
        """Commit the end of a segment. Where its moments are not kept and the line goes on, a checkpoint holds them."""
        end = State(line, segment.end)
        held, wanted = self.archive.held(line.key), self._wanted.points.get(line.key, {}).items()
        ahead = any(epoch > segment.end and not held.has(epoch, kept) for epoch, kept in wanted)
        goes_on = segment.kept == WEIGHTS and ahead
        if goes_on:
            self.archive.commit_point(end, CHECKPOINT, point)
        self.archive.commit_point(end, segment.kept, point)
        self.archive.drop_checkpoints(line.key, before=segment.end if goes_on else segment.end + 1)
        self._listen(StageCommitted(self.trial.id, end.key))

    def _prune(self, stage: Prune) -> None:
        family = self.family_at(stage.state)
        within = None if stage.within == DENSE else self.mask(stage.within)
        seed = self.trial.seed.order
        began = (time.perf_counter(), time.process_time())
        with FlopCounter() as counted:
            chosen = choose(family, stage.by, stage.density, within, self._looked_at(stage.by), seed)
        fact = {
            "scored_by": chosen.scored_by,
            "flops": counted.total,
            "seconds": time.perf_counter() - began[0],
            "cpu_seconds": time.process_time() - began[1],
        }
        self.archive.commit_pruning(stage.key, chosen.mask, fact)

    def _looked_at(self, by: Criterion) -> torch.Tensor:
        """The training images that a criterion looks at; of those that look at none, their shape."""
        if by.images is None:
            return torch.empty(0, *self.card.image, dtype=torch.uint8, device=self._device)
        order = torch.randperm(self.card.train, generator=generator(self.trial.seed.order, "look"))
        return self._train_images[order[: by.images].to(self._device)]

    def _emerge(self, stage: Emerge) -> None:
        """Train the points of the line that are wanted, at which masks are looked for in passing, and then on."""
        for epoch in self._wanted.points_before(stage):
            self.perform(Train(stage.line, epoch))
        while not self._is_done(stage):
            watch = Watch(stage, self.archive)
            if watch.over:
                raise NothingEmerged(
                    f"no mask came to rest in {stage.last} epochs: of {stage.look_back} masks the newest differed from "
                    f"another by {watch.nearest:.3g} at least, and delta is {stage.delta:g}"
                )
            held = self.archive.held(stage.line.key)
            ready = {stage.line.start} | held.full | held.checkpoint
            begin = max(epoch for epoch in ready if epoch <= watch.epoch)
            segment = Segment(begin, stage.last, CHECKPOINT)
            self._train(stage.line, segment, stage.key, until=lambda: self._is_done(stage))

    def emergence(self, stage: Emerge) -> int:
        fact = self.archive.pruning(stage.key)
        assert fact is not None, "a mask that has emerged is there with what is known of it"
        epoch: int = fact["epoch"]
        return epoch

    def _redraw(self, stage: Redraw) -> None:
        noise = generator(self.trial.seed.init, stage.how)
        mask = redraw(self._built(None), self.mask(stage.mask), stage.how, noise)
        self.archive.commit_mask(stage.key, mask)

    def _fit_classifier(self, stage: Fit) -> None:
        card, split = data.card(stage.dataset), self._load(stage.dataset)
        assert split.train_labels is not None
        assert split.held_out_labels is not None
        classifier = classifiers.untrained(stage.network, card, self._device)
        images, labels = self._on_device(split.train), self._on_device(split.train_labels).long()
        for _ in classifiers.fit(stage.network, classifier, images, labels):
            if self._stop():
                raise Interrupted
        held_out, truth = self._on_device(split.held_out), self._on_device(split.held_out_labels).long()
        classifiers.check(stage.network, classifiers.accuracy(classifier, held_out, truth))
        self.archive.objects.commit(stage.object, classifiers.pack(classifier))

    def _take_features(self, stage: Features) -> None:
        network = self._network(stage.distances)
        found = feature_set(self._part(stage.part, stage.samples).split(BATCH), network.extractor)
        self.archive.objects.commit(stage.object, replace(found, network=network.sha256).pack())

    def _evaluate(self, stage: Evaluate) -> None:
        began = time.perf_counter()
        images = self._part(stage.part, stage.evaluation.samples)
        family, yardstick = self.family_at(stage.state), self._yardstick(stage)
        metrics, pictures = evaluate(family, images, stage.evaluation, yardstick, self._judge(stage), stage.part)
        machine = device.describe(self._device)
        fact = {"metrics": metrics, "seconds": time.perf_counter() - began, "machine": machine}
        if yardstick:
            fact["network"] = yardstick.real.network
        self.archive.commit_evaluation(stage.key, fact, pictures)

    def _yardstick(self, stage: Evaluate) -> Yardstick | None:
        if stage.features is None:
            return None
        real = instruments.real_features(self.archive.store, stage.features)
        assert real is not None, "what an evaluation needs is there before it is made"
        return Yardstick(self._network(stage.evaluation.distances).extractor, real)

    def _judge(self, stage: Evaluate) -> Judge | None:
        if stage.classifier is None:
            return None
        channels = self.card.image[0]
        network = instruments.classifier(self.archive.store, stage.classifier, "resnet18", channels, self._device)
        labels = self._load(self.trial.dataset).held_out_labels
        assert labels is not None
        return Judge(network, self._on_device(labels[: stage.evaluation.samples]).long())

    def _select(self, stage: Select) -> None:
        facts = [self.archive.evaluation(candidate.key) for candidate in stage.candidates]
        values = [fact["metrics"][stage.by] for fact in facts if fact is not None]
        assert len(values) == len(facts), "what a selection needs is there before it is made"
        chosen = stage.candidates[METRICS[stage.by].best_of(values)].state
        measured = self._evaluation_of(chosen, self.trial.evaluation, HELD_OUT)
        if not self._is_done(measured):
            self._evaluate(measured)
        fact = {"by": stage.by, "values": values, "epoch": chosen.epoch, "evaluation": measured.key}
        self.archive.objects.commit_fact(stage.object, fact)

    def family_at(self, state: State) -> Family:
        """The network in a state, without optimizers."""
        family = self._built(state.line.slim)
        materialise(family, self._device)
        restore(weights_only(self.point(state).tensors), family, {})
        return family

    def _built(self, slim: Slim | None) -> Family:
        """The trial's model on the meta device, narrowed to `slim`."""
        return build(self.spec(slim), self.card.image, self.trial.recipe.precision)

    def spec(self, slim: Slim | None) -> ModelSpec:
        """The trial's model, narrowed to `slim`."""
        if slim is None:
            return self.trial.model
        if slim not in self._narrow:
            whole = (self.trial.model, self.card.image, self.trial.recipe.batch)
            self._narrow[slim] = narrowed(*whole, self.mask(slim.mask), slim.equal)
        return self._narrow[slim]

    @cached_property
    def _train_images(self) -> torch.Tensor:
        return self._on_device(self._load(self.trial.dataset).train)

    def _part(self, part: str, count: int) -> torch.Tensor:
        """Images of a part of the data: the first of those to train on or held out, or the last held out."""
        if part == "train":
            return self._train_images[:count]
        held_out = self._load(self.trial.dataset).held_out
        return self._on_device(held_out[-count:] if part == SELECTION else held_out[:count])

    def _on_device(self, images: Images | Labels) -> torch.Tensor:
        with warnings.catch_warnings():
            # Images shared between processes are read-only, of which torch warns; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(images).to(self._device)

    def _failed(self, stage: Stage, kind: str, error: Exception) -> StageFailed:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        epoch = error.epoch if isinstance(error, Diverged) else None
        failure = Failure(subject(stage), type(stage).__name__.lower(), kind, message, trace, epoch)
        self._failures.record(failure)
        return StageFailed(failure)
