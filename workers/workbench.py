"""The workbench: the laboratory that computes what the store does not hold."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import shortened, typed_line
from search_spaces.trial import Trial
from workers import data
from workers.archive.failures import DIVERGED, ERROR, NO_TICKET, Failure, Failures, StageFailed, subject
from workers.archive.states import Archive
from workers.bench import Context, Handler
from workers.data import Split
from workers.endings import Diverged, Interrupted, NothingEmerged, OutOfMemory
from workers.evaluation.stages import EvaluateHandler, FeaturesHandler, FitHandler, SelectHandler
from workers.lab.laboratory import Laboratory
from workers.lab.points import Wanted
from workers.lab.stages import (
    Emerge,
    Evaluate,
    Features,
    Fit,
    Graft,
    Initial,
    Move,
    Prune,
    Redraw,
    Select,
    Stage,
    Train,
)
from workers.pruning.stages import MoveHandler, PruneHandler, RedrawHandler
from workers.reports import Listener, Report, StageCommitted, Warned
from workers.settling.codes import Codes
from workers.store.backends import Store, StoreError
from workers.training.early_bird import Watch
from workers.training.stages import EmergeHandler, GraftHandler, InitialHandler, TrainHandler

HANDLERS: Mapping[type[Stage], Callable[[Context], Handler[Any]]] = {
    Initial: InitialHandler,
    Train: TrainHandler,
    Graft: GraftHandler,
    Emerge: EmergeHandler,
    Prune: PruneHandler,
    Redraw: RedrawHandler,
    Move: MoveHandler,
    Fit: FitHandler,
    Features: FeaturesHandler,
    Evaluate: EvaluateHandler,
    Select: SelectHandler,
}


class Workbench(Laboratory):
    """Performs the stages of one trial on `device`, which has been prepared for it.

    `wanted` is what the plan of the whole sweep wants of the lines. After every epoch, `stop` says whether to stop.
    `load` returns the images of a data set.
    """

    def __init__(
        self,
        trial: Trial,
        store: Store,
        wanted: Wanted,
        device: torch.device,
        listen: Listener = lambda report: None,
        stop: Callable[[], bool] = lambda: False,
        load: Callable[[DatasetSpec], Split] = data.load,
    ) -> None:
        super().__init__(trial, data.card(trial.dataset))
        self.context = Context(
            trial, self.card, Archive(store), wanted, device, load, listen, stop, self.perform, self._again
        )
        self._handlers = {kind: handler(self.context) for kind, handler in HANDLERS.items()}
        self._failures = Failures(self.context.archive.objects)
        self._codes = Codes(store)

    def perform(self, stage: Stage) -> None:
        """Put the result of `stage` into the store, unless it is there.

        Raises:
            StageFailed: if the stage fails, or if the store records an earlier failure.
            Interrupted: if the trial is to stop.
            OutOfMemory: if the stage needs more memory than there is.
            CodeError: if plugins have other code here than the trial names.
        """
        if not self._handlers[type(stage)].holds(stage):
            if self.context.stop():
                raise Interrupted
            if failure := self._failures.of(stage):
                raise StageFailed(failure)
            self._codes.check(self.trial)
            self._try(stage)
        self.context.listen(StageCommitted(self.trial.id, stage.key))

    def _try(self, stage: Stage) -> None:
        try:
            self._handlers[type(stage)].make(stage)
        except Diverged as error:
            line = Train(stage.line, stage.last) if isinstance(stage, Emerge) else stage
            raise self._failed(line, DIVERGED, error) from error
        except NothingEmerged as error:
            raise self._failed(stage, NO_TICKET, error) from error
        except (Interrupted, StageFailed, StoreError, OutOfMemory):
            raise
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise OutOfMemory(stage.key, typed_line(error)) from error
        except (Exception, SystemExit) as error:  # a model, a data set or a plugin may raise anything: the stage failed
            raise self._failed(stage, ERROR, error) from error

    def _again(self, key: str) -> None:
        """Perform the stage with this key again, in the laboratory that performed it first.

        Raises:
            StoreError: if there is no such stage, because its result was imported.
        """
        if key not in self.stages:
            raise StoreError(f"an imported ticket is gone from store {self.context.archive.store.uri}; import it again")
        self.makers[key].perform(self.stages[key])

    def _another(self, trial: Trial) -> Workbench:
        own = self.context

        def listen(report: Report) -> None:
            own.listen(report if isinstance(report, Warned) else replace(report, trial_id=self.trial.id))

        return Workbench(trial, own.archive.store, own.wanted, own.device, listen, own.stop, own.load)

    def emergence(self, stage: Emerge) -> int:
        """The epoch at which the mask emerged; if none did, the last epoch of the search."""
        epoch = self.context.archive.emergence(stage.key)
        return stage.last if epoch is None else min(epoch, stage.last)

    def distances(self, stage: Emerge) -> list[tuple[int, int, float]]:
        """List (epoch, earlier epoch, share on which their masks differ) for all epochs of a search."""
        return Watch(stage, self.context.archive).distances

    def _failed(self, stage: Stage, kind: str, error: Exception | SystemExit) -> StageFailed:
        message = shortened(typed_line(error))
        trace = "".join(traceback.format_exception(error))
        epoch = error.epoch if isinstance(error, Diverged | NothingEmerged) else None
        failure = Failure(subject(stage), type(stage).__name__.lower(), kind, message, trace, epoch)
        self._failures.record(failure)
        return StageFailed(failure)
