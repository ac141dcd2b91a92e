"""Watching a line in training for a mask that emerges."""

from __future__ import annotations

from workers.archive.states import Archive
from workers.lab.stages import Emerge
from workers.masks import Emergence, Mask
from workers.models import Family
from workers.pruning.choose import choose_unseen


class Watch:
    """Looks at a line after every epoch for the mask of one stage, and remembers in the store what it saw.

    So it takes no notice of who trains the line, or in how many goes.
    """

    def __init__(self, stage: Emerge, archive: Archive) -> None:
        self.stage = stage
        self._archive = archive
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

    @property
    def distances(self) -> list[tuple[int, int, float]]:
        """(epoch, earlier epoch, share on which their masks differ) for every pair that was seen."""
        return self._emergence.distances

    def look(self, family: Family, epoch: int) -> bool:
        """Look at the network at the end of an epoch; whether this is where its mask emerges.

        Epochs are looked at in order: one that is not the next is none of this watch's.
        """
        if self.over or epoch != self.epoch + 1:
            return False
        chosen = choose_unseen(family, self.stage.by, self.stage.density)
        self._archive.commit_glimpse(self.stage.key, epoch, chosen.kept, chosen.decided)
        self._see(chosen.kept, chosen.decided)
        return self.rests

    def _see(self, kept: Mask, decided: bool) -> None:
        self.rests = self._emergence.see(kept, decided=decided)
