"""The data sets that a sweep can name, and their options."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from search_spaces.base.registry import NamedSpec, Registry


class DatasetSpec(NamedSpec):
    """Training images, and held-out images for evaluation.

    `fraction` is the share of the training images that is used: the first ones. All held-out images are used.
    """

    fraction: float | None = Field(default=None, gt=0, le=1)

    @field_validator("fraction")
    @classmethod
    def _all_is_none(cls, fraction: float | None) -> float | None:
        # `fraction: 1` and no fraction are the same trial.
        return None if fraction == 1 else fraction


datasets: Registry[DatasetSpec] = Registry("data set", DatasetSpec)
AnyDataset = Annotated[SerializeAsAny[DatasetSpec], BeforeValidator(datasets.parse)]


@datasets.register
class Digits(DatasetSpec):
    """5,000 MNIST digits, 4,000 to train on and 1,000 held out, padded to 32x32."""

    name: Literal["digits"] = "digits"


@datasets.register
class MNIST(DatasetSpec):
    """60,000 handwritten digits and 10,000 held out, padded to 32x32, or unchanged with `size: 28`."""

    name: Literal["mnist"] = "mnist"
    size: Literal[28, 32, 64] = 32


@datasets.register
class FashionMNIST(DatasetSpec):
    """60,000 pieces of clothing and 10,000 held out, padded to 32x32, or unchanged with `size: 28`."""

    name: Literal["fashion_mnist"] = "fashion_mnist"
    size: Literal[28, 32, 64] = 32


@datasets.register
class CIFAR10(DatasetSpec):
    """50,000 colour photographs of ten classes and 10,000 held out."""

    name: Literal["cifar10"] = "cifar10"
    size: Literal[32, 64] = 32


@datasets.register
class CelebA(DatasetSpec):
    """162,770 aligned faces and 19,962 held out.

    `crop` is the side of the centre square that is resized. Without it, the whole image is squeezed.
    """

    name: Literal["celeba"] = "celeba"
    size: Literal[32, 64] = 32
    crop: Literal[108, 140, 148] | None = None


@datasets.register
class Emoji(DatasetSpec):
    """The colour glyphs of Noto's emoji font: about 1,000 training images and 400 held out."""

    name: Literal["emoji"] = "emoji"
    size: Literal[32, 64] = 64


@datasets.register
class ImageFolder(DatasetSpec):
    """The images of a folder, at any depth; one tenth is held out. Sub-folders of the first level are classes."""

    name: Literal["image_folder"] = "image_folder"
    folder: str = Field(min_length=1, max_length=1000)
    size: Literal[32, 64] = 64
    channels: Literal[1, 3] = 3

    @field_validator("folder")
    @classmethod
    def _one_spelling(cls, folder: str) -> str:
        # faces, ./faces and faces/ are one trial. Only the spelling counts, as the folder may be on another machine.
        if "\0" in folder:
            raise ValueError("no folder has a zero byte in its name")
        return re.sub("^/+", "/", posixpath.normpath(folder))
