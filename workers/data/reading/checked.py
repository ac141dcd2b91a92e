"""Checks of what a data source returns, so that training never uses images of a wrong form."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.data.reading.card import DataError, DatasetCard, Images, Labels, Split

_MOST_CLASSES = 256
_WANTED = "wanted are images as uint8 (N, channels, height, width), from 0 to 255"
_MENDS = {
    "b": "(255 * images).astype(np.uint8)",
    "f": "where they are from 0 to 1, (255 * images).round().astype(np.uint8)",
    "u": "bring them to the range 0 to 255 first, then images.astype(np.uint8)",
    "i": "bring them to the range 0 to 255 first, then images.astype(np.uint8)",
}
"""Advice for images of a wrong dtype, by numpy's letter for its kind. Only the source knows the range of its values."""


def checked_card(name: str, card: DatasetCard) -> DatasetCard:
    """The card that the source of data set `name` returned, after a check of its fields.

    Raises:
        DataError: if it is no DatasetCard, or if a field is wrong.
    """
    if not isinstance(card, DatasetCard):
        raise DataError(f"data set {name}: its card is of type {type(card).__name__}; wanted is a DatasetCard")
    image, classes = card.image, card.classes
    text, named = isinstance(card.fingerprint, str), isinstance(card.labels, str)
    fields = {
        "fingerprint": (text and card.fingerprint and not card.nominal, "a digest of the images, split and transform"),
        "image": (
            isinstance(image, tuple) and len(image) == 3 and all(map(_is_count, image)) and image[0] in (1, 3),
            "(channels, height, width), whole numbers above 0, with 1 channel or 3",
        ),
        "train": (_is_count(card.train), "a whole number above 0"),
        "held_out": (_is_count(card.held_out), "a whole number above 0"),
        "classes": (classes == 0 or (_is_count(classes) and classes <= _MOST_CLASSES), "a whole number up to 256"),
        "labels": (named and bool(card.labels) == bool(classes), "a digest of the labels, or '' where classes is 0"),
    }
    for field, (right, wanted) in fields.items():
        if not right:
            raise DataError(f"data set {name}: {field} of its card is {getattr(card, field)!r}; wanted is {wanted}")
    return card


def checked_split(name: str, split: Split, card: DatasetCard) -> Split:
    """The images that the source of data set `name` returned, after a check against its `card`.

    The returned arrays are contiguous, plain numpy arrays, which processes can share.

    Raises:
        DataError: if the images do not match the card, or do not have the form that training needs.
    """
    if not isinstance(split, Split):
        raise DataError(f"data set {name}: it loads a {type(split).__name__}; wanted is a Split")
    checked = Split(
        _images(f"data set {name}: train", split.train, card.image, card.train),
        _images(f"data set {name}: held_out", split.held_out, card.image, card.held_out),
        _labels(f"data set {name}: train_labels", split.train_labels, card.train, card.classes),
        _labels(f"data set {name}: held_out_labels", split.held_out_labels, card.held_out, card.classes),
    )
    for part, images in (("train", checked.train), ("held_out", checked.held_out)):
        if images.max() <= 1:
            raise DataError(
                f"data set {name}: no value in {part} is above 1, as if images from 0 to 1 were cast; {_WANTED}"
            )
    return checked


def _images(what: str, images: Images, image: tuple[int, int, int], count: int) -> Images:
    _check_type(what, images, _WANTED)
    if images.dtype != np.uint8:
        told = f"{what} is {images.dtype}{_range(images)}; {_WANTED}"
        mend = _MENDS.get(images.dtype.kind)
        raise DataError(f"{told}: {mend}" if mend else told)
    if images.shape != (count, *image):
        raise DataError(f"{what} is of shape {images.shape}, but its card says {(count, *image)}; {_WANTED}")
    return np.ascontiguousarray(images)


def _labels(what: str, labels: Labels | None, count: int, classes: int) -> Labels | None:
    if labels is None and not classes:
        return None
    if labels is None or not classes:
        there = "missing" if labels is None else "there"
        raise DataError(f"{what} are {there}, but its card says {classes} classes; both or neither are wanted")
    wanted = f"wanted are {count} numbers as uint8, from 0 to {classes - 1}"
    _check_type(what, labels, wanted)
    if labels.dtype != np.uint8 or labels.shape != (count,):
        raise DataError(f"{what} are {labels.dtype} of shape {labels.shape}; {wanted}")
    if labels.max() >= classes:
        raise DataError(f"{what} go up to {labels.max()}, but its card says {classes} classes; {wanted}")
    return np.ascontiguousarray(labels)


def _check_type(what: str, array: Any, wanted: str) -> None:
    # Not isinstance: a masked array would pass, and silently lose its mask.
    if type(array) not in (np.ndarray, np.memmap):
        raise DataError(
            f"{what} is of type {type(array).__name__}; {wanted} in a numpy array (of a tensor, tensor.cpu().numpy())"
        )


def _range(images: np.ndarray[Any, Any]) -> str:
    return f" from {images.min()} to {images.max()}" if images.size and images.dtype.kind in "fiub" else ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
