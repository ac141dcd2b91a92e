"""The choice of a criterion."""

from __future__ import annotations

from dataclasses import dataclass

from workers.masks import Mask


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choice of a criterion.

    `kept` is the choice among the ranked entries, which are weights or channels. `mask` is the same choice among
    weights. `drawn` marks the entries that were drawn among equal scores. `scored_by` is the name of the score.
    """

    kept: Mask
    mask: Mask
    drawn: Mask
    scored_by: str

    @property
    def decided(self) -> bool:
        """Whether the choice needed no draw among equal scores."""
        return not self.drawn.kept

    @property
    def tied_share(self) -> float:
        """The fraction of kept entries that were drawn among equal scores."""
        return (self.drawn & self.kept).kept / self.kept.kept if self.kept.kept else 0.0
