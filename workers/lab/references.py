"""References to states and masks. They are known before any work is done. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NewType

from search_spaces.base.canonical import digest
from search_spaces.models import ModelSpec

MaskKey = NewType("MaskKey", str)

DENSE = MaskKey(digest({"verb": "dense", "version": 1}))
"""The mask that keeps every weight."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How the training steps of a line differ from the trial's recipe.

    `l1` is the weight of an L1 penalty on the scales of batch norms. The learning rate at an epoch is the recipe's
    rate `lag` epochs earlier.
    """

    l1: float = 0.0
    lag: int = 0


AS_THE_RECIPE = Steps()


@dataclass(frozen=True, slots=True)
class Slim:
    """A narrower dense network that equals the trial's model under `mask` in parameters or in FLOPs."""

    mask: MaskKey
    equal: Literal["parameters", "flops"]


@dataclass(frozen=True, slots=True)
class Line:
    """A trajectory: all states that training under one mask passes through from one origin.

    The line of an initialisation has no origin and one point, at epoch 0. The line of a graft has no origin and one
    point, at epoch `begins`. `moments` is the state whose optimizer moments training begins with: the origin or another
    state; None means a fresh optimizer. `slim` is set if the network was narrowed at its initialisation.
    """

    key: str
    origin: State | None = None
    mask: MaskKey = DENSE
    steps: Steps = AS_THE_RECIPE
    moments: State | None = None
    slim: Slim | None = None
    begins: int = 0

    @property
    def start(self) -> int:
        """The epoch that the line begins at."""
        return self.origin.epoch if self.origin else self.begins


@dataclass(frozen=True, slots=True)
class State:
    """A point on a line: all weights, buffers and optimizer moments at the end of an epoch.

    The epoch at which a mask emerges depends on the data. The key of such a state contains `emergence`, the key of the
    mask, instead of the epoch. Until the mask has emerged, `epoch` is the earliest possible one.
    """

    line: Line
    epoch: int
    emergence: MaskKey | None = None

    @property
    def key(self) -> str:
        return f"{self.line.key}@{self.epoch}" if self.emergence is None else f"{self.emergence}@emergence"

    @property
    def stage(self) -> str:
        """The key of the stage that makes the state."""
        return self.emergence or self.key


@dataclass(frozen=True, slots=True)
class Ticket:
    """A start state and a mask: the result of a search.

    `found` is the state in which the mask was found; the ticket may start from another state. `end` is the epoch that
    the ticket is trained to; None stands for the trial's last epoch. `steps` describes its training. `moments` is the
    state whose optimizer moments the training begins with; None means a fresh optimizer.
    """

    start: State
    mask: MaskKey
    found: State
    end: int | None = None
    steps: Steps = AS_THE_RECIPE
    moments: State | None = None


@dataclass(frozen=True, slots=True)
class Giver:
    """The model that a mask or weights come from; for a transfer, another model than the trial's own.

    `image` is the shape (C, H, W) of its images. `code` identifies the plugin code of the model, if it has any.
    """

    model: ModelSpec
    image: tuple[int, int, int]
    code: str | None = None
