"""Nominal cards, made from a data set's definition alone, so that a sweep can be planned while files are missing."""

from __future__ import annotations

from search_spaces.base.canonical import digest
from search_spaces.datasets import CIFAR10, MNIST, CelebA, DatasetSpec, FashionMNIST
from workers.data.reading.card import NOMINAL, DatasetCard

_SIZES = {
    "mnist": (1, 60_000, 10_000, 10),
    "fashion_mnist": (1, 60_000, 10_000, 10),
    "cifar10": (3, 50_000, 10_000, 10),
    "celeba": (3, 162_770, 19_962, 0),
}
"""Channels, training images, held-out images, and classes."""


def nominal_card(spec: DatasetSpec) -> DatasetCard | None:
    """The nominal card of a whole data set, or None if only its files tell how many images it has."""
    if not isinstance(spec, MNIST | FashionMNIST | CIFAR10 | CelebA):
        return None
    channels, train, held_out, classes = _SIZES[spec.name]
    name = f"{NOMINAL}{digest(spec.model_dump())}"
    return DatasetCard(name, (channels, spec.size, spec.size), train, held_out, classes, labels=name if classes else "")
