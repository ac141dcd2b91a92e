"""Emergence: detect when the masks of successive epochs stop changing."""

from __future__ import annotations

from workers.masks.mask import Mask


class Emergence:
    """Compares the masks of successive epochs, beginning with epoch 1 (You et al. 2020, section 4).

    A mask emerges if its distance to each of the `look_back` - 1 masks before it is at most `delta`. The distance is
    the fraction of entries that differ. No mask emerges while ties decided one of these masks, because then chance
    chose it, not the network.
    """

    def __init__(self, look_back: int, delta: float) -> None:
        self._look_back = look_back
        self._delta = delta
        self._masks: list[Mask] = []
        self._decided: list[bool] = []
        self.distances: list[tuple[int, int, float]] = []
        """(epoch, earlier epoch, distance of their masks) for every pair of masks seen."""

    @property
    def epoch(self) -> int:
        """The number of masks seen."""
        return len(self._masks)

    def see(self, mask: Mask, *, decided: bool) -> bool:
        """Add the mask of the next epoch, and return whether it emerges.

        `decided` says whether the choice of the mask needed no ties.
        """
        distances = [mask.hamming(earlier) for earlier in self._masks]
        self.distances += [(self.epoch + 1, epoch, distance) for epoch, distance in enumerate(distances, start=1)]
        self._masks.append(mask)
        self._decided.append(decided)
        newest = slice(1 - self._look_back, None)
        return (
            self.epoch >= self._look_back
            and all(self._decided[-self._look_back :])
            # Compare counts of entries, because a rounding error must not push a fraction over the bound.
            and all(round(d * mask.size) <= self._delta * mask.size + 1e-9 for d in distances[newest])
        )

    @property
    def nearest(self) -> float:
        """The smallest `delta` with which a mask would have emerged; 1 if there were too few masks without ties."""
        spans = [
            max(d for e, other, d in self.distances if e == epoch and epoch - other < self._look_back)
            for epoch in range(self._look_back, self.epoch + 1)
            if all(self._decided[epoch - self._look_back : epoch])
        ]
        return min(spans, default=1.0)
