"""Failures: stages that did not succeed, recorded by stage so that every trial that needs one ends naming it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from workers.lab.stages import Emerge, Stage, Train
from workers.store import names
from workers.store.objects import Objects

ERROR, DIVERGED, NO_TICKET = "error", "diverged", "no_ticket"

KINDS = {"failed": ERROR, "diverged": DIVERGED, "no_ticket": NO_TICKET}
"""By the status of a trial the kind of failure that it ended with."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage did not succeed.

    `epoch` is where training diverged, before which all is still good, or up to which no mask emerged.
    """

    stage: str
    verb: str
    kind: str
    message: str
    traceback: str = ""
    epoch: int | None = None


class StageFailed(Exception):
    """A stage that a trial needs has failed, in this trial or in an earlier one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.verb} {failure.stage[:12]}: {failure.message}")
        self.failure = failure


def subject(stage: Stage) -> str:
    """What a failure of `stage` is recorded under: for training its line, otherwise the stage itself."""
    return stage.line.key if isinstance(stage, Train) else stage.key


def _subjects(stage: Stage) -> set[str]:
    """All that a failure at `stage` may be recorded under: training until a mask emerges is training of its line."""
    return {subject(stage), stage.line.key} if isinstance(stage, Emerge) else {subject(stage)}


def _reaches(stage: Stage, epoch: int) -> bool:
    """Whether what happened at an epoch stands in the way of a stage."""
    match stage:
        case Train():
            return stage.to >= epoch
        case Emerge():
            return stage.last <= epoch
        case _:
            return True


class Failures:
    """The failures recorded in a store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def of(self, stage: Stage) -> Failure | None:
        """The recorded failure that stands in the way of `stage`, or None."""
        failure = self._objects.read_fact(names.failure(subject(stage)), Failure)
        if failure is None:
            return None
        return failure if failure.epoch is None or _reaches(stage, failure.epoch) else None

    def any_of(self, stages: Iterable[Stage]) -> Failure | None:
        """The first recorded failure that stands in the way of one of `stages`, or None."""
        recorded = set(self._objects.store.list(names.FAILURES))
        concerned = (stage for stage in stages if names.failure(subject(stage)) in recorded)
        return next((failure for stage in concerned if (failure := self.of(stage))), None)

    def record(self, failure: Failure) -> None:
        self._objects.commit_fact(names.failure(failure.stage), asdict(failure))

    def clear(self, stages: Iterable[Stage], kinds: Collection[str]) -> None:
        """Forget the failures of `stages` that are of such `kinds`."""
        recorded = set(self._objects.store.list(names.FAILURES))
        for name in recorded & {names.failure(key) for stage in stages for key in _subjects(stage)}:
            failure = self._objects.read_fact(name, Failure)
            if failure is not None and failure.kind in kinds:
                self._objects.store.delete(name)
