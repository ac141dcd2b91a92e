"""Emergence: when the masks of successive epochs have come to rest."""

from __future__ import annotations

from workers.masks.mask import Mask


class Emergence:
    """Sees the mask of one epoch after the other, beginning with epoch 1 (You et al. 2020, section 4).

    A mask has come to rest where the newest of `look_back` masks, itself included, differs from each of the others on
    a share of at most `delta`. A mask that ties had to decide was not chosen by the network: with one of those among
    them there is no rest.
    """

    def __init__(self, look_back: int, delta: float) -> None:
        self._look_back = look_back
        self._delta = delta
        self._masks: list[Mask] = []
        self._decided: list[bool] = []
        self.distances: list[tuple[int, int, float]] = []
        """(epoch, earlier epoch, share on which their masks differ) for every pair that was seen."""

    @property
    def epoch(self) -> int:
        """The number of masks seen."""
        return len(self._masks)

    def see(self, mask: Mask, *, decided: bool) -> bool:
        """Whether with this mask they have come to rest. `decided` says that it was chosen without ties."""
        distances = [mask.hamming(earlier) for earlier in self._masks]
        self.distances += [(self.epoch + 1, epoch, distance) for epoch, distance in enumerate(distances, start=1)]
        self._masks.append(mask)
        self._decided.append(decided)
        newest = slice(1 - self._look_back, None)
        return (
            self.epoch >= self._look_back
            and all(self._decided[-self._look_back :])
            # Counts of differing entries: their ratio must not miss the bound by a rounding error.
            and all(round(d * mask.size) <= self._delta * mask.size + 1e-9 for d in distances[newest])
        )

    @property
    def nearest(self) -> float:
        """The smallest distance that would have had to be allowed, 1 if too few masks without ties were seen."""
        spans = [
            max(d for e, other, d in self.distances if e == epoch and epoch - other < self._look_back)
            for epoch in range(self._look_back, self.epoch + 1)
            if all(self._decided[epoch - self._look_back : epoch])
        ]
        return min(spans, default=1.0)
