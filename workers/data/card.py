"""What is known of a data set without training on it, and its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import TombolaError

Images = npt.NDArray[np.uint8]
"""Images (N, channels, height, width), 0 to 255."""

Labels = npt.NDArray[np.uint8]
"""Classes of images (N,), counted from 0."""


class DataError(TombolaError):
    """Data that is missing or damaged; the message says where it was looked for and how to get it."""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What keys and plans need: `fingerprint` stands for content, split and transform; `image` is (C, H, W).

    `labels` stands for the labels of all images, of `classes` classes; a data set without labels has 0 classes.
    """

    fingerprint: str
    image: tuple[int, int, int]
    train: int
    held_out: int
    classes: int = 0
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """Images to train on and images held out for evaluation, with their labels where a data set has any."""

    train: Images
    held_out: Images
    train_labels: Labels | None = None
    held_out_labels: Labels | None = None
