"""How a stage can end, other than by making what it is for or by an error."""

from __future__ import annotations


class Interrupted(Exception):
    """The trial was asked to stop, and has committed the epoch it was in."""


class OutOfMemory(Exception):
    """A stage ran out of memory: a matter of the machine and of what else runs there, so no failure of the stage."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Diverged(ArithmeticError):
    """A number stopped being finite, in training during `epoch`. A result of the recipe, not a fault of the program."""

    def __init__(self, message: str, epoch: int | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch


class NothingEmerged(Exception):
    """No mask came to rest up to `epoch`. A result, not a fault."""

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch
