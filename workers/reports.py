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
    """Epoch `epoch` of the line `line` was trained in `seconds` for the stage `stage`, on the way to epoch `end`."""

    trial_id: str
    stage: str
    line: str
    epoch: int
    end: int
    means: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class StageCommitted:
    """The result of the stage `stage` is in the store, for other trials to use."""

    trial_id: str
    stage: str


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """The trial ended with `status`: done, failed, diverged or no_ticket.

    `error` says what went wrong; `failure` also names the stage, if it went wrong in a stage.
    """

    trial_id: str
    status: str
    error: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class TrialLeft:
    """The trial stopped before its end. It can continue from what it committed."""

    trial_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning for the user; the trial goes on."""

    text: str


Report = TrialStarted | EpochTrained | StageCommitted | TrialEnded | TrialLeft | Warned
Listener = Callable[[Report], None]
