"""Data sets, found by their name in a sweep."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Protocol

from search_spaces.base.canonical import digest
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import TombolaError, typed_line
from workers.data.nominal import nominal_card
from workers.data.reading.cached import Cached
from workers.data.reading.card import NOMINAL, DataError, DatasetCard, Images, Labels, MissingDataError, Split
from workers.data.reading.checked import checked_card, checked_split
from workers.data.sources import celeba, cifar10, digits, emoji, image_folder
from workers.data.sources.idx import fashion_mnist, mnist


class Source(Protocol):
    """A module or object that reads one data set, always whole: this package applies `fraction`."""

    def card(self, spec: DatasetSpec) -> DatasetCard:
        """The card of the data set; images are decoded for it at most once."""

    def load(self, spec: DatasetSpec) -> Split:
        """The decoded images: uint8 (N, channels, height, width), as many as the card says."""


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
        DataError: if files are missing, if files that must be decoded are damaged, or if a field of the card is wrong.
    """
    if spec.fraction is None:
        return checked_card(spec.name, _card_of_source(spec))
    return _part(card(in_full(spec)), spec.fraction)


def _card_of_source(spec: DatasetSpec) -> DatasetCard:
    try:
        return _source(spec).card(spec)
    except (TombolaError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"data set {spec.name}: its card cannot be made: {typed_line(error)}") from error


def card_or_nominal(spec: DatasetSpec) -> DatasetCard:
    """The card of a data set, or a nominal card if its files are missing. Only for planning, which needs no images.

    Raises:
        DataError: if files are damaged, or if they are missing and the data set has no nominal card.
    """
    try:
        return card(spec)
    except MissingDataError:
        nominal = nominal_card(in_full(spec))
        if nominal is None:
            raise
        return nominal if spec.fraction is None else _part(nominal, spec.fraction)


@cache
def load(spec: DatasetSpec) -> Split:
    """The images of a data set, decoded at most once in each process.

    Raises:
        DataError: if files are missing or damaged, or if the images do not match the card.
    """
    if spec.fraction is None:
        return checked_split(spec.name, _source(spec).load(spec), card(spec))
    whole = load(in_full(spec))
    train = _share(len(whole.train), spec.fraction)
    labels = None if whole.train_labels is None else whole.train_labels[:train]
    return replace(whole, train=whole.train[:train], train_labels=labels)


def in_full(spec: DatasetSpec) -> DatasetSpec:
    """The same data set with all of its training images."""
    return spec.model_copy(update={"fraction": None})


def _source(spec: DatasetSpec) -> Source:
    if spec.name not in sources:
        raise DataError(f"data set {spec.name}: its plugin gives no source; wanted is sources[{spec.name!r}] = ...")
    return sources[spec.name]


def _part(whole: DatasetCard, fraction: float) -> DatasetCard:
    """The card of the data set with only the first `fraction` of its training images."""
    fingerprint = digest({"fingerprint": whole.fingerprint, "fraction": fraction})
    if whole.nominal:
        fingerprint = f"{NOMINAL}{fingerprint}"
    return replace(whole, fingerprint=fingerprint, train=_share(whole.train, fraction))


def _share(train: int, fraction: float) -> int:
    return max(1, round(train * fraction))


__all__ = [
    "DataError",
    "DatasetCard",
    "Images",
    "Labels",
    "Source",
    "Split",
    "card",
    "card_or_nominal",
    "in_full",
    "load",
    "sources",
]
