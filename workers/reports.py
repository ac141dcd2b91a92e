"""What a trial reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workers.archive.failures import Failure


@dataclass(frozen=True, slots=True)
class TrialStarted:
    trial_id: str


@dataclass(frozen=True, slots=True)
class EpochTrained:
    """An epoch of the line `line`, on its way to `end`, was trained in `seconds` for the stage `stage`."""

    trial_id: str
    stage: str
    line: str
    epoch: int
    end: int
    means: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class StageCommitted:
    """What the stage `stage` makes is in the store, for other trials to use."""

    trial_id: str
    stage: str


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """`status` is done, failed or diverged; `error` says what went wrong, `failure` in which stage if it was in one."""

    trial_id: str
    status: str
    error: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class TrialLeft:
    """The trial stopped running without having ended, and can go on from what it committed."""

    trial_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something worth a person's attention that ends nothing."""

    text: str


Report = TrialStarted | EpochTrained | StageCommitted | TrialEnded | TrialLeft | Warned
Listener = Callable[[Report], None]
