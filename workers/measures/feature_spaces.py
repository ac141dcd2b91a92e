"""Feature spaces: layers of networks in whose features distances between sets of images are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Features = Literal["inception", "fashion", "effnet"]


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """The layer that features are taken from, their number for one image, and the allowed channel counts of images."""

    layer: str
    dimensions: int
    channels: tuple[int, ...]


SPACES: dict[Features, FeatureSpace] = {
    "inception": FeatureSpace("2048", 2048, (1, 3)),
    "fashion": FeatureSpace("pooled", 48, (1,)),
    "effnet": FeatureSpace("last block", 320, (1, 3)),
}
"""All feature spaces, the best first."""
