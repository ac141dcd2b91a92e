"""The types of data sets: cards, which hold facts about them, and splits, which hold their images."""

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
    """Data is missing or damaged; the message says where it was looked for and how to get it."""


class MissingDataError(DataError):
    """Some or all files of a data set are not on this machine."""


NOMINAL = "nominal-"
"""Prefix of the fingerprint of a nominal card. All other fingerprints are digests, which never begin with it."""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """The facts about a data set that keys and plans need.

    `fingerprint` identifies content, split and transform. `image` is (C, H, W). `train` and `held_out` count images.
    `labels` is a digest of the labels of all images, and `classes` their number of classes. A data set without labels
    has 0 classes and an empty digest.
    """

    fingerprint: str
    image: tuple[int, int, int]
    train: int
    held_out: int
    classes: int = 0
    labels: str = ""

    @property
    def nominal(self) -> bool:
        """Whether the card comes from a definition, not from images on this machine."""
        return self.fingerprint.startswith(NOMINAL)


@dataclass(frozen=True, slots=True)
class Split:
    """Images to train on and images held out for evaluation, with their labels if the data set has any."""

    train: Images
    held_out: Images
    train_labels: Labels | None = None
    held_out_labels: Labels | None = None
