"""What a trial reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrialStarted:
    trial_id: str


@dataclass(frozen=True, slots=True)
class EpochTrained:
    """An epoch of the stage that trains the line `line` to `end` was trained, in `seconds`."""

    trial_id: str
    line: str
    epoch: int
    end: int
    means: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """`status` is done, failed or diverged; `error` is the last line of what went wrong."""

    trial_id: str
    status: str
    error: str = ""


Report = TrialStarted | EpochTrained | TrialEnded
Listener = Callable[[Report], None]
