"""What a criterion chose."""

from __future__ import annotations

from dataclasses import dataclass

from workers.pruning import Mask


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a criterion keeps.

    `kept` is the choice among what was ranked, weights or channels, and `mask` that among weights. `decided` says
    that no tie had a say in it, `scored_by` how it was scored.
    """

    kept: Mask
    mask: Mask
    decided: bool
    scored_by: str
