"""Data sets, found by the name that a sweep gives them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Protocol

from search_spaces.canonical import digest
from search_spaces.datasets import DatasetSpec
from workers.data import celeba, cifar10, digits, emoji, image_folder
from workers.data.cached import Cached
from workers.data.card import DataError, DatasetCard, Images, Labels, Split
from workers.data.idx import fashion_mnist, mnist


class Source(Protocol):
    """A module or object that knows one data set; what `fraction` of it a sweep asks for is not its concern."""

    def card(self, spec: DatasetSpec) -> DatasetCard:
        """What is known of it; its images are decoded for that once at most."""

    def load(self, spec: DatasetSpec) -> Split:
        """Its images, decoded."""


sources: dict[str, Source] = {
    "digits": digits,
    "mnist": Cached(mnist),
    "fashion_mnist": Cached(fashion_mnist),
    "cifar10": Cached(cifar10),
    "celeba": Cached(celeba),
    "emoji": Cached(emoji),
    "image_folder": Cached(image_folder),
}


@cache
def card(spec: DatasetSpec) -> DatasetCard:
    """The card of a data set.

    Raises:
        DataError: if its files are missing, or damaged where they have to be decoded for it.
    """
    if spec.fraction is None:
        return sources[spec.name].card(spec)
    whole = card(in_full(spec))
    fingerprint = digest({"fingerprint": whole.fingerprint, "fraction": spec.fraction})
    return replace(whole, fingerprint=fingerprint, train=_share(whole.train, spec.fraction))


@cache
def load(spec: DatasetSpec) -> Split:
    """The images of a data set, decoded once a process at most.

    Raises:
        DataError: if its files are missing or damaged.
    """
    if spec.fraction is None:
        return sources[spec.name].load(spec)
    whole = load(in_full(spec))
    train = _share(len(whole.train), spec.fraction)
    labels = None if whole.train_labels is None else whole.train_labels[:train]
    return replace(whole, train=whole.train[:train], train_labels=labels)


def in_full(spec: DatasetSpec) -> DatasetSpec:
    """The same data set with all of its training images."""
    return spec.model_copy(update={"fraction": None})


def _share(train: int, fraction: float) -> int:
    return max(1, round(train * fraction))


__all__ = ["DataError", "DatasetCard", "Images", "Labels", "Source", "Split", "card", "in_full", "load", "sources"]
