"""The workbench: the laboratory that does the work, unless the store holds it already."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, assert_never

import torch

from search_spaces.errors import shortened
from search_spaces.specs.criterion import Criterion
from search_spaces.specs.datasets import DatasetSpec
from search_spaces.specs.models import ModelSpec
from search_spaces.trial import Trial
from workers import data, device
from workers.archive.failures import DIVERGED, ERROR, NO_TICKET, Failure, Failures, StageFailed, subject
from workers.archive.states import Archive, Point
from workers.costs.flops import FlopCounter
from workers.costs.steps import narrowed
from workers.data import Images, Labels, Split
from workers.evaluation.stages import Examiner
from workers.lab.laboratory import HELD_OUT, Laboratory
from workers.lab.points import FULL, Wanted
from workers.lab.stages import (
    DENSE,
    Emerge,
    Evaluate,
    Features,
    Fit,
    Graft,
    Initial,
    MaskKey,
    Move,
    Prune,
    Redraw,
    Select,
    Slim,
    Stage,
    State,
    Train,
)
from workers.leaving import Interrupted, OutOfMemory
from workers.masks import Mask
from workers.models import Family, build, materialise
from workers.models.state import restore, weights_only
from workers.pruning.choose import choose
from workers.pruning.controls import redraw
from workers.pruning.scope import in_scope
from workers.pruning.transfer import move_mask
from workers.randomness import generator
from workers.reports import Listener, Report, StageCommitted, Warned
from workers.settling.codes import Codes
from workers.store.backends import Store, StoreError
from workers.training.early_bird import Watch
from workers.training.loop import Diverged
from workers.training.segments import NothingEmerged, Trainer


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
        self._codes = Codes(store)
        self.wanted = wanted
        self.listen = listen
        self.stops = stop
        self.load = load
        self.device = device.prepare(trial.resources)
        self._narrow: dict[Slim, ModelSpec] = {}
        self._trainer = Trainer(self)
        self._examiner = Examiner(self)

    def perform(self, stage: Stage) -> None:
        """See to it that what `stage` makes is in the store.

        Raises:
            StageFailed: if it fails, or is recorded to have failed before.
            Interrupted: if the trial is to stop.
            OutOfMemory: if it needs more memory than there is.
            CodeError: if plugins are not what the trial is known by.
        """
        if not self._is_done(stage):
            if self.stops():
                raise Interrupted
            if failure := self._failures.of(stage):
                raise StageFailed(failure)
            self._codes.check(self.trial)
            self._try(stage)
        self.listen(StageCommitted(self.trial.id, stage.key))

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
            return Mask.dense(in_scope(self.built(None), scope))
        mask = self.archive.mask(key)
        if mask is None:
            self._again(key)
            mask = self.archive.mask(key)
            assert mask is not None, f"mask {key} is gone right after it was made"
        return mask

    def point(self, state: State, *, moments: bool = False) -> Point:
        """A state that the program has asked for, made again if it has been damaged since."""
        point = self.archive.point(state, moments=moments)
        if point is None:
            if state.emergence is None:
                self._again(state.key)
            else:
                self._trainer.train_through(state.line, {state.epoch: FULL}, state.emergence)
            point = self.archive.point(state, moments=moments)
            assert point is not None, f"state {state.key} is gone right after it was made"
        return point

    def _again(self, key: str) -> None:
        """Make what a stage made once more, by whom it was made.

        Raises:
            StoreError: if no stage makes it, because it was imported.
        """
        if key not in self.stages:
            raise StoreError(f"an imported ticket is gone from store {self.archive.store.uri}; import it again")
        maker = self.makers[key]
        assert isinstance(maker, Workbench)
        maker.perform(self.stages[key])

    def _is_done(self, stage: Stage) -> bool:
        match stage:
            case Initial() | Graft():
                return stage.line.begins in self.archive.held(stage.line.key).full
            case Train():
                return self._trainer.has_trained(stage)
            case Emerge():
                return self.archive.mask(stage.key) is not None and self._keeps_where_it_emerged(stage)
            case Prune():
                return self.archive.mask(stage.key) is not None and self.archive.pruning(stage.key) is not None
            case Redraw() | Move():
                return self.archive.mask(stage.key) is not None
            case Evaluate():
                return self.archive.evaluation(stage.key) is not None
            case Features():
                return self._examiner.has_taken(stage)
            case Select():
                return self._examiner.has_selected(stage)
            case _:
                return self.archive.objects.read(stage.object) is not None

    def _keeps_where_it_emerged(self, stage: Emerge) -> bool:
        epoch, kept = self.archive.emergence(stage.key), self.archive.held(stage.line.key).full
        return epoch is not None and epoch in kept and epoch <= stage.last

    def _make(self, stage: Stage) -> None:
        match stage:
            case Initial():
                self._trainer.initialise(stage)
            case Train():
                self._trainer.train(stage)
            case Prune():
                self._choose(stage, stage.state, stage.within)
            case Emerge():
                emerged = State(stage.line, self._trainer.emerge(stage))
                self._choose(stage, emerged, DENSE, epoch=emerged.epoch)
            case Redraw():
                noise = generator(self.trial.seed.init, stage.draw)
                mask = redraw(self.built(None), self.mask(stage.mask), stage.how, noise)
                self.archive.commit_mask(stage.key, mask)
            case Move():
                self._move(stage)
            case Graft():
                self._trainer.graft(stage)
            case Fit():
                self._examiner.fit(stage)
            case Features():
                self._examiner.take_features(stage)
            case Evaluate():
                self._examiner.evaluate(stage)
            case Select():
                self._examiner.select(stage)
            case _:
                assert_never(stage)

    def _choose(self, stage: Prune | Emerge, state: State, within: MaskKey, **known: Any) -> None:
        """Choose in a state what a mask keeps, and note what that took beside all else that is `known` of it."""
        family = self.family_at(state)
        inside = None if within == DENSE else self.mask(within)
        began = (time.perf_counter(), time.process_time())
        with FlopCounter() as counted:
            images = self._looked_at(stage.by)
            seed = self.trial.seed
            chosen = choose(family, stage.by, stage.density, inside, images, seed.order, seed.init)
        took = {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
        found = {"scored_by": chosen.scored_by, "tied_share": chosen.tied_share}
        fact = {**found, "flops": counted.total, **took, **known}
        self.archive.commit_pruning(stage.key, chosen.mask, fact)

    def _move(self, stage: Move) -> None:
        giver = build(stage.giver.model, stage.giver.image)
        moved = move_mask(self.mask(stage.mask), giver, self.built(None), stage.bodies)
        self.archive.commit_mask(stage.key, moved)

    def _looked_at(self, by: Criterion) -> torch.Tensor:
        """The training images that a criterion looks at; of those that look at none, their shape."""
        if by.images is None:
            return torch.empty(0, *self.card.image, dtype=torch.uint8, device=self.device)
        order = torch.randperm(self.card.train, generator=generator(self.trial.seed.order, "look"))
        return self.train_images[order[: by.images].to(self.device)]

    def _another(self, trial: Trial) -> Workbench:
        def listen(report: Report) -> None:
            self.listen(report if isinstance(report, Warned) else replace(report, trial_id=self.trial.id))

        return Workbench(trial, self.archive.store, self.wanted, listen, self.stops, self.load)

    def emergence(self, stage: Emerge) -> int:
        """The epoch at which a mask emerged, or up to which it was searched for in vain."""
        epoch = self.archive.emergence(stage.key)
        return stage.last if epoch is None else min(epoch, stage.last)

    def distances(self, stage: Emerge) -> list[tuple[int, int, float]]:
        """(epoch, earlier epoch, share on which their masks differ) for all epochs that a mask was searched for."""
        return Watch(stage, self.archive).distances

    def family_at(self, state: State) -> Family:
        """The network in a state, without optimizers."""
        family = self.built(state.line.slim)
        materialise(family, self.device)
        restore(weights_only(self.point(state).tensors), family, {})
        return family

    def built(self, slim: Slim | None) -> Family:
        """The trial's model, narrowed to `slim`, with its parameters on the meta device."""
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
    def train_images(self) -> torch.Tensor:
        return self.on_device(self.load(self.trial.dataset).train)

    def reported_on(self, state: State) -> Evaluate:
        """The stage that measures a state on what the trial reports on."""
        return self._evaluation_of(state, self.trial.evaluation, HELD_OUT)

    def on_device(self, images: Images | Labels) -> torch.Tensor:
        with warnings.catch_warnings():
            # Images shared between processes are read-only, of which torch warns; nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(images).to(self.device)

    def _failed(self, stage: Stage, kind: str, error: Exception) -> StageFailed:
        message = shortened(f"{type(error).__name__}: {str(error).strip()}".splitlines()[0])
        trace = "".join(traceback.format_exception(error))
        epoch = error.epoch if isinstance(error, Diverged | NothingEmerged) else None
        failure = Failure(subject(stage), type(stage).__name__.lower(), kind, message, trace, epoch)
        self._failures.record(failure)
        return StageFailed(failure)
