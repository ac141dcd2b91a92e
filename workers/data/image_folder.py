"""Images of one's own: a folder of them, at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from search_spaces.datasets import DatasetSpec, ImageFolder
from workers.data.card import DataError, Labels, Split
from workers.data.files import Files
from workers.data.folders import data_folder
from workers.data.pictures import centre, read_picture, stacked

REMEDY = "fill the folder with at least 20 images (png, jpg, jpeg, webp or bmp)"

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_FEWEST, _FEWEST_HELD_OUT, _MOST_CLASSES = 20, 10, 256
_SPLIT = "sorted by path, shuffled by seed 0, last tenth held out"
_TRANSFORM = "{colour}, transparency over white, centre square, resized to {size} by Lanczos"


def files(spec: DatasetSpec) -> Files:
    assert isinstance(spec, ImageFolder)
    root = data_folder() / Path(spec.folder).expanduser()
    images = (path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in images)
    if len(names) < _FEWEST:
        raise DataError(f"data set image_folder: {len(names)} images are in {root}; {REMEDY}")
    return Files(root, tuple(names))


def words(spec: DatasetSpec) -> dict[str, str]:
    assert isinstance(spec, ImageFolder)
    colour = "grey" if spec.channels == 1 else "colour"
    return {"split": _SPLIT, "transform": _TRANSFORM.format(colour=colour, size=spec.size)}


def decode(spec: DatasetSpec, files: Files) -> Split:
    assert isinstance(spec, ImageFolder)
    order = np.random.default_rng(0).permutation(len(files.names))
    mode = "L" if spec.channels == 1 else "RGB"
    images = stacked((_square(files.root / files.names[i], mode) for i in order), spec.size, spec.channels)
    train = len(images) - max(_FEWEST_HELD_OUT, len(images) // 10)
    labels = _labels(files.names)
    if labels is None:
        return Split(images[:train], images[train:])
    return Split(images[:train], images[train:], labels[order[:train]], labels[order[train:]])


def _square(path: Path, mode: str) -> Image.Image:
    picture = read_picture(path, mode, str(path))
    return centre(picture, min(picture.size))


def _labels(names: Sequence[str]) -> Labels | None:
    folders, labels = np.unique([name.rpartition("/")[0].partition("/")[0] for name in names], return_inverse=True)
    if "" in folders or len(folders) > _MOST_CLASSES:
        return None
    return labels.astype(np.uint8)
