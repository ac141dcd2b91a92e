"""The ledger: records of trained segments, with the machine, the time of each epoch, and what was logged."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workers.lab.points import CHECKPOINT, FULL, WEIGHTS
from workers.store import names
from workers.store.objects import Objects


@dataclass(frozen=True, slots=True)
class TrainedEpoch:
    """An epoch by its number, counted from 1. `means` are the means of logged quantities over its steps."""

    number: int
    seconds: float
    cpu_seconds: float
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment: the epochs of a line after `begin`, up to `end`, that were trained in one go."""

    line: str
    begin: int
    end: int
    kept: str
    machine: dict[str, str | int]
    epochs: tuple[TrainedEpoch, ...]


class Ledger:
    """The segment records of a store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def enter(self, record: SegmentRecord) -> None:
        self._objects.commit_fact(names.segment(record.line, record.end, record.kept), asdict(record))

    def ending_at(self, line: str, end: int) -> SegmentRecord | None:
        """Return the record of the segment of a line that ended at epoch `end`, or None."""
        for kept in (FULL, WEIGHTS, CHECKPOINT):
            record = self._objects.read_fact(names.segment(line, end, kept), SegmentRecord)
            if record is not None:
                return record
        return None

    def passing(self, line: str, epoch: int) -> SegmentRecord | None:
        """Return the record of a segment that contains an epoch but does not end there, or None."""
        found = self._records(names.segments_of(line))
        return next((record for record in found if record.begin < epoch < record.end), None)

    def all(self) -> list[SegmentRecord]:
        """Return all records, in any order."""
        return self._records(names.LEDGER)

    def _records(self, folder: str) -> list[SegmentRecord]:
        listed = list(self._objects.store.list(folder))
        found = (self._objects.read_fact(name, SegmentRecord) for name in listed)
        return [record for record in found if record is not None]
