"""The journal of a segment during training."""

from __future__ import annotations

import time

from search_spaces.trial import Trial
from workers.archive.ledger import SegmentRecord, TrainedEpoch
from workers.lab.points import Segment
from workers.lab.references import Line


class Journal:
    """Measures the time of the epochs of a segment, and makes a record of them for each committed point."""

    def __init__(self, line: Line, segment: Segment) -> None:
        self._line = line.key
        self._begin = segment.begin
        self._epochs: list[TrainedEpoch] = []
        self._clock = (time.perf_counter(), time.process_time())

    def add(self, number: int, means: dict[str, float]) -> TrainedEpoch:
        now = (time.perf_counter(), time.process_time())
        trained = TrainedEpoch(number, now[0] - self._clock[0], now[1] - self._clock[1], means)
        self._clock = now
        self._epochs.append(trained)
        return trained

    def due(self, trial: Trial) -> bool:
        """Whether a checkpoint is due."""
        every = trial.checkpoint_every
        if every.epochs is not None:
            return len(self._epochs) >= every.epochs
        assert every.minutes is not None
        return sum(epoch.seconds for epoch in self._epochs) >= 60 * every.minutes

    def cut(self, end: int, kept: str, machine: dict[str, str | int]) -> SegmentRecord:
        record = SegmentRecord(self._line, self._begin, end, kept, machine, tuple(self._epochs))
        self._begin, self._epochs = end, []
        return record
