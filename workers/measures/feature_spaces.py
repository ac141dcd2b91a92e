"""Feature spaces: the layers of networks in which distances between sets of images can be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Features = Literal["inception", "fashion", "effnet"]


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """The layer that features are taken from, how many it has for an image, and the channels of images it is for."""

    layer: str
    dimensions: int
    channels: tuple[int, ...]


SPACES: dict[Features, FeatureSpace] = {
    "inception": FeatureSpace("2048", 2048, (1, 3)),
    "fashion": FeatureSpace("pooled", 48, (1,)),
    "effnet": FeatureSpace("last block", 320, (1, 3)),
}
"""The best first."""
