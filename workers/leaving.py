"""What makes a trial leave before it has ended, to be taken up again."""

from __future__ import annotations


class Interrupted(Exception):
    """The trial was asked to stop, and has committed the epoch it was in."""


class OutOfMemory(Exception):
    """A stage ran out of memory: a matter of the machine and of what else runs there, so no failure of the stage."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
