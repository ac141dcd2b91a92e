"""Early-bird detection: watch a line in training until a mask emerges."""

from __future__ import annotations

from workers.archive.states import Archive
from workers.lab.stages import Emerge
from workers.masks import Emergence, Mask
from workers.models import Family
from workers.pruning.choose import choose_unseen


class Watch:
    """Chooses the mask of one stage after every epoch of a line, and keeps these masks in the store.

    Because of the store, the result does not depend on who trains the line, or in how many segments.
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
        """The last epoch whose mask was chosen."""
        return self._emergence.epoch

    @property
    def over(self) -> bool:
        return self.rests or self.epoch >= self.stage.last

    @property
    def nearest(self) -> float:
        """The smallest `delta` with which a mask would have emerged."""
        return self._emergence.nearest

    @property
    def distances(self) -> list[tuple[int, int, float]]:
        """(epoch, earlier epoch, distance of their masks) for every pair of masks seen."""
        return self._emergence.distances

    def look(self, family: Family, epoch: int) -> bool:
        """Choose the mask at the end of an epoch, and return whether it emerges.

        Epochs must come in order. The watch ignores any epoch that is not the next one.
        """
        if self.over or epoch != self.epoch + 1:
            return False
        chosen = choose_unseen(family, self.stage.by, self.stage.density)
        self._archive.commit_glimpse(self.stage.key, epoch, chosen.kept, chosen.decided)
        self._see(chosen.kept, chosen.decided)
        return self.rests

    def _see(self, kept: Mask, decided: bool) -> None:
        self.rests = self._emergence.see(kept, decided=decided)
