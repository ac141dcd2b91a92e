"""References to states and masks, which are known before any work is done. No torch."""

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
    """In what the steps of a line depart from the trial's recipe.

    `l1` weighs a penalty on the scales of norms; the learning rate is that of `lag` epochs before.
    """

    l1: float = 0.0
    lag: int = 0


AS_THE_RECIPE = Steps()


@dataclass(frozen=True, slots=True)
class Slim:
    """A narrower network, with as many parameters as the trial's model has under a mask, or as many FLOPs."""

    mask: MaskKey
    equal: Literal["parameters", "flops"]


@dataclass(frozen=True, slots=True)
class Line:
    """A trajectory: all the states that training under one mask passes through from one origin.

    The line of an initialisation has no origin; its one point is epoch 0. So has that of a graft, whose one point is
    `begins`. `moments` is the state whose optimizer moments training begins with: the origin's own, those of another
    state, or none. `slim` is what the network was narrowed to when it was initialised, if it was.
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

    Where a mask emerged the epoch depends on data; such a state is known by its `emergence`. Before the work is done,
    its epoch is the earliest there can be.
    """

    line: Line
    epoch: int
    emergence: MaskKey | None = None

    @property
    def key(self) -> str:
        return f"{self.line.key}@{self.epoch}" if self.emergence is None else f"{self.emergence}@emergence"

    @property
    def stage(self) -> str:
        """The key of the stage that makes it."""
        return self.emergence or self.key


@dataclass(frozen=True, slots=True)
class Ticket:
    """A start state and a mask: what a search finds.

    `found` is the state that the mask was found in, which the ticket may not start from. `end` is the epoch
    that the ticket is trained to; left out, the trial's last. `steps` are those of its training, and `moments` is the
    state whose optimizer moments that begins with; left out, its optimizer is a fresh one.
    """

    start: State
    mask: MaskKey
    found: State
    end: int | None = None
    steps: Steps = AS_THE_RECIPE
    moments: State | None = None


@dataclass(frozen=True, slots=True)
class Giver:
    """A model, for images (C, H, W), that a mask or weights come from, which is not the trial's own.

    `code` identifies that of a plugin which brings it.
    """

    model: ModelSpec
    image: tuple[int, int, int]
    code: str | None = None
