"""Failures of stages. They are recorded by stage, so that every trial that needs the stage can name the failure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from workers.lab.stages import Emerge, Stage, Train
from workers.store import names
from workers.store.objects import Objects

ERROR, DIVERGED, NO_TICKET = "error", "diverged", "no_ticket"

KINDS = {"failed": ERROR, "diverged": DIVERGED, "no_ticket": NO_TICKET}
"""Maps the status of a trial to the kind of failure that it ended with."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage did not succeed.

    `epoch` is the epoch in which training diverged, so that earlier epochs are valid, or up to which no mask emerged.
    """

    stage: str
    verb: str
    kind: str
    message: str
    traceback: str = ""
    epoch: int | None = None


class StageFailed(Exception):
    """A stage that a trial needs failed, in this trial or in an earlier one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.verb} {failure.stage[:12]}: {failure.message}")
        self.failure = failure


def subject(stage: Stage) -> str:
    """The key that a failure of `stage` is recorded under: that of the line for training, otherwise of the stage."""
    return stage.line.key if isinstance(stage, Train) else stage.key


def _subjects(stage: Stage) -> set[str]:
    """The keys that a failure in `stage` may be recorded under. `Emerge` also trains a line, which may diverge."""
    return {subject(stage), stage.line.key} if isinstance(stage, Emerge) else {subject(stage)}


def _reaches(stage: Stage, epoch: int) -> bool:
    """Whether a failure at an epoch blocks a stage."""
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
        """Return the recorded failure that blocks `stage`, or None."""
        failure = self._objects.read_fact(names.failure(subject(stage)), Failure)
        if failure is None:
            return None
        return failure if failure.epoch is None or _reaches(stage, failure.epoch) else None

    def any_of(self, stages: Iterable[Stage]) -> Failure | None:
        """Return the first recorded failure that blocks one of `stages`, or None."""
        recorded = set(self._objects.store.list(names.FAILURES))
        concerned = (stage for stage in stages if names.failure(subject(stage)) in recorded)
        return next((failure for stage in concerned if (failure := self.of(stage))), None)

    def record(self, failure: Failure) -> None:
        self._objects.commit_fact(names.failure(failure.stage), asdict(failure))

    def clear(self, stages: Iterable[Stage], kinds: Collection[str]) -> None:
        """Delete the recorded failures of `stages` that are of these `kinds`."""
        recorded = set(self._objects.store.list(names.FAILURES))
        for name in recorded & {names.failure(key) for stage in stages for key in _subjects(stage)}:
            failure = self._objects.read_fact(name, Failure)
            if failure is not None and failure.kind in kinds:
                self._objects.store.delete(name)
