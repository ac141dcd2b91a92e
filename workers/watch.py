"""Watching a line in training for a mask that emerges."""

from __future__ import annotations

import time
from typing import Any

import torch

from workers.archive import Archive
from workers.choosing import Chosen, choose
from workers.models import Family
from workers.pruning import Emergence, Mask
from workers.stages import Emerge


class Watch:
    """Looks at a line after every epoch for the mask of one stage, and remembers in the store what it saw.

    So it takes no notice of who trains the line, or in how many goes.
    """

    def __init__(self, stage: Emerge, archive: Archive) -> None:
        self.stage = stage
        self._archive = archive
        self._seconds = self._cpu_seconds = 0.0
        self._emergence = Emergence(stage.look_back, stage.delta)
        self.rests = False
        while not self.over and (glimpse := archive.glimpse(stage.key, self.epoch + 1)):
            self._see(*glimpse)

    @property
    def epoch(self) -> int:
        """The last epoch that was looked at."""
        return self._emergence.epoch

    @property
    def over(self) -> bool:
        return self.rests or self.epoch >= self.stage.last

    @property
    def nearest(self) -> float:
        """The smallest distance that would have had to be allowed for a mask to emerge."""
        return self._emergence.nearest

    def look(self, family: Family, epoch: int) -> Chosen | None:
        """Look at the network at the end of an epoch; the mask, if this is where it emerges.

        Epochs are looked at in order: one that is not the next is none of this watch's.
        """
        if self.over or epoch != self.epoch + 1:
            return None
        began = (time.perf_counter(), time.process_time())
        nothing = torch.empty(0, 1, 1, 1, dtype=torch.uint8)
        chosen = choose(family, self.stage.by, self.stage.density, None, nothing, 0)
        self._archive.commit_glimpse(self.stage.key, epoch, chosen.kept, chosen.decided)
        self._see(chosen.kept, chosen.decided)
        self._seconds += time.perf_counter() - began[0]
        self._cpu_seconds += time.process_time() - began[1]
        return chosen if self.rests else None

    def fact(self, chosen: Chosen) -> dict[str, Any]:
        """What is to be known of the mask that emerged."""
        return {
            "scored_by": chosen.scored_by,
            "flops": 0,
            "seconds": self._seconds,
            "cpu_seconds": self._cpu_seconds,
            "epoch": self.epoch,
            "distances": self._emergence.distances,
        }

    def _see(self, kept: Mask, decided: bool) -> None:
        self.rests = self._emergence.see(kept, decided=decided)
