"""Data sets, found by the name that a sweep gives them."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from search_spaces.datasets import DatasetSpec
from workers.data import digits
from workers.data.card import DataError, DatasetCard, Images, Split


class Source(Protocol):
    """A module or object that knows one data set."""

    def card(self, spec: DatasetSpec) -> DatasetCard:
        """What is known of it without decoding images."""

    def load(self, spec: DatasetSpec) -> Split:
        """Its images, decoded."""


sources: dict[str, Source] = {"digits": digits}


@cache
def card(spec: DatasetSpec) -> DatasetCard:
    """The card of a data set.

    Raises:
        DataError: if its files are missing.
    """
    return sources[spec.name].card(spec)


@cache
def load(spec: DatasetSpec) -> Split:
    """The images of a data set, decoded once a process.

    Raises:
        DataError: if its files are missing or damaged.
    """
    return sources[spec.name].load(spec)


__all__ = ["DataError", "DatasetCard", "Images", "Source", "Split", "card", "load", "sources"]
