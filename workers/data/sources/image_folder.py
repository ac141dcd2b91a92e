"""A user's own folder of images, at any depth."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from search_spaces.datasets import DatasetSpec, ImageFolder
from workers.data.reading.card import DataError, Images, Labels, Split
from workers.data.reading.files import Files, shown
from workers.data.reading.folders import data_folder
from workers.data.reading.listing import listing
from workers.data.reading.pictures import centre, collected, read_picture, resized

REMEDY = "fill the folder with at least 20 images (png, jpg, jpeg, webp or bmp)"

_FEWEST, _FEWEST_HELD_OUT, _MOST_CLASSES, _MOST_NAMED = 20, 10, 256, 3
_TRAINING, _HELD_OUT = {"train", "training"}, {"val", "valid", "validation", "test", "testing"}
_SPLIT = "sorted by path, shuffled by seed 0, last tenth held out"
_TRANSFORM = "{colour}, transparency over white, centre square, resized to {size} by Lanczos"
_log = logging.getLogger("tombola")


def files(spec: DatasetSpec) -> Files:
    assert isinstance(spec, ImageFolder)
    root = data_folder() / os.path.expanduser(spec.folder)
    if not root.is_dir():
        raise DataError(f"data set image_folder: there is no folder {shown(root)}; make one, and {REMEDY}")
    found = listing(root)
    if len(found.names) < _FEWEST:
        besides = f", besides {found.left_out}" if found.left_out else ""
        raise DataError(f"data set image_folder: {len(found.names)} images are in {shown(root)}{besides}; {REMEDY}")
    _refuse_parts(root, set(map(_class, found.names)))
    return found


def words(spec: DatasetSpec) -> dict[str, str]:
    assert isinstance(spec, ImageFolder)
    colour = "grey" if spec.channels == 1 else "colour"
    return {"split": _SPLIT, "transform": _TRANSFORM.format(colour=colour, size=spec.size)}


def decode(spec: DatasetSpec, files: Files) -> Split:
    assert isinstance(spec, ImageFolder)
    if files.left_out:
        _log.warning("data set image_folder: left out of %s: %s", shown(files.root), files.left_out)
    reader = _Reader(files, spec)
    order = np.random.default_rng(0).permutation(len(files.names))
    images = collected(reader.different(order), (spec.channels, spec.size, spec.size))
    reader.tell()
    train = len(images) - max(_FEWEST_HELD_OUT, len(images) // 10)
    labels = _labels(files.names)
    if labels is None:
        return Split(images[:train], images[train:])
    return Split(images[:train], images[train:], labels[reader.kept[:train]], labels[reader.kept[train:]])


class _Reader:
    """Reads pictures and keeps one of equal ones: a copy could be held out while the model trains on the other.

    `kept` holds the indices of the pictures that are kept.
    """

    def __init__(self, files: Files, spec: ImageFolder) -> None:
        self._files = files
        self._mode = "L" if spec.channels == 1 else "RGB"
        self._size = spec.size
        self._unreadable: dict[int, str] = {}
        self.kept: list[int] = []

    def different(self, order: Iterable[int]) -> Iterator[Images]:
        seen = set()
        for index in order:
            try:
                image = self._read(self._files.names[index])
            except DataError as error:
                self._unreadable[index] = str(error)
                continue
            content = hashlib.sha256(image.tobytes()).digest()
            if content not in seen:
                seen.add(content)
                self.kept.append(index)
                yield image

    def tell(self) -> None:
        """Warn about pictures that are copies of others.

        Raises:
            DataError: if some pictures cannot be read, or too few are left without copies.
        """
        count, root = len(self._files.names), shown(self._files.root)
        if self._unreadable:
            told = "; ".join(message for _, message in sorted(self._unreadable.items())[:_MOST_NAMED])
            raise DataError(
                f"data set image_folder: {len(self._unreadable)} of {count} files in {root} cannot be read: {told}"
                + "; ..." * (len(self._unreadable) > _MOST_NAMED)
            )
        copies = count - len(self.kept)
        if copies:
            told = f"{copies} of {count} images in {root} are copies of others, as seen once resized, and count once"
            if len(self.kept) < _FEWEST:
                raise DataError(f"data set image_folder: {told}; {REMEDY}")
            _log.warning("data set image_folder: %s", told)

    def _read(self, name: str) -> Images:
        picture = read_picture(self._files.root / name, self._mode, name)
        return resized(centre(picture, min(picture.size)), self._size)


def _refuse_parts(root: Path, folders: set[str]) -> None:
    training, held_out = (
        sorted(folder for folder in folders if folder.lower() in names) for names in (_TRAINING, _HELD_OUT)
    )
    if training and held_out:
        raise DataError(
            f"data set image_folder: {training[0]} and {held_out[0]} in {shown(root)} are a split and no classes; "
            f"name one of them (folder: .../{training[0]}), of which a part is held out, or put their classes together"
        )


def _class(name: str) -> str:
    """The sub-folder of the first level that a picture lies in, or "" if it lies in no sub-folder."""
    return name.partition("/")[0] if "/" in name else ""


def _labels(names: Sequence[str]) -> Labels | None:
    folders = [_class(name) for name in names]
    numbers = {folder: number for number, folder in enumerate(sorted(set(folders)))}
    if "" in numbers or len(numbers) > _MOST_CLASSES:
        return None
    return np.array([numbers[folder] for folder in folders], np.uint8)
