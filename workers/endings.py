"""How a stage can end other than by success or by an error."""

from __future__ import annotations


class Interrupted(Exception):
    """The trial was asked to stop. A line in training has committed its current epoch."""


class OutOfMemory(Exception):
    """A stage ran out of memory. That depends on the machine and its load, so it is no failure of the stage."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Diverged(ArithmeticError):
    """A number stopped being finite, in training during `epoch`. It is a result of the recipe, not a program error."""

    def __init__(self, message: str, epoch: int | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch


class NothingEmerged(Exception):
    """No mask emerged up to `epoch`. It is a result, not a program error."""

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch
