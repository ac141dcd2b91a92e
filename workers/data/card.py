"""What is known of a data set without training on it, and its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import TombolaError

Images = npt.NDArray[np.uint8]
"""Images (N, channels, height, width), 0 to 255."""


class DataError(TombolaError):
    """Data that is missing or damaged; the message says where it was looked for and how to get it."""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What keys and plans need: `fingerprint` stands for content, split and transform; `image` is (C, H, W)."""

    fingerprint: str
    image: tuple[int, int, int]
    train: int
    held_out: int


@dataclass(frozen=True, slots=True)
class Split:
    """Images to train on, and images held out for evaluation."""

    train: Images
    held_out: Images
