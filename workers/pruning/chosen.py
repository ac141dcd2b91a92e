"""What a criterion chose."""

from __future__ import annotations

from dataclasses import dataclass

from workers.masks import Mask


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a criterion keeps.

    `kept` is the choice among what was ranked, weights or channels, and `mask` that among weights. `drawn` is what
    was drawn among equal scores on the way to `kept`; `scored_by` says how it was scored.
    """

    kept: Mask
    mask: Mask
    drawn: Mask
    scored_by: str

    @property
    def decided(self) -> bool:
        """Whether no tie had a say in it."""
        return not self.drawn.kept

    @property
    def tied_share(self) -> float:
        """Fraction of what is kept that was drawn among equal scores."""
        return (self.drawn & self.kept).kept / self.kept.kept if self.kept.kept else 0.0
