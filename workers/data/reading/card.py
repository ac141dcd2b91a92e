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


class MissingDataError(DataError):
    """Data whose files are not on this machine, or not all of them."""


NOMINAL = "nominal-"
"""What the fingerprint of a card begins with that is of no images: no other fingerprint does, as they are digests."""


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

    @property
    def nominal(self) -> bool:
        """Whether it is of a definition, and not of images that are here."""
        return self.fingerprint.startswith(NOMINAL)


@dataclass(frozen=True, slots=True)
class Split:
    """Images to train on and images held out for evaluation, with their labels where a data set has any."""

    train: Images
    held_out: Images
    train_labels: Labels | None = None
    held_out_labels: Labels | None = None
