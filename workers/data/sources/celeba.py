"""CelebA: aligned faces of 178x218 pixels, as a folder of JPEGs or as the official zip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import ZipFile

from PIL import Image

from search_spaces.datasets import CelebA, DatasetSpec
from workers.data.reading.card import DataError, Split
from workers.data.reading.files import Files, first_found, verify
from workers.data.reading.folders import data_folder
from workers.data.reading.pictures import centre, read_picture, stacked

ARCHIVE, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"
MD5 = {ARCHIVE: "00d2c5bc6d35e252742224ab0c1e8fcb", PARTITION: "d32c9cbf5e040fd4025c592c306e6668"}
REMEDY = (
    f"put {ARCHIVE} and {PARTITION} into the folder celeba of the data folder, "
    "from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html "
    "(unpacked, it is the folder img_align_celeba with 000001.jpg and so on)"
)

_FOLDER = "img_align_celeba"
_SIZE = (178, 218)
_TRAIN, _TEST = "0", "2"
_SPLIT = "the official training part, the official test part held out"
_TRANSFORM = "{crop}, resized to {size} by Lanczos"


def files(spec: DatasetSpec) -> Files:
    """The files of CelebA. The zip is preferred, because it has a checksum and is one file instead of 200,000."""
    root = data_folder() / "celeba"
    zipped = (root / ARCHIVE).is_file()
    faces = [] if zipped else sorted(f"{_FOLDER}/{path.name}" for path in (root / _FOLDER).glob("*.jpg"))
    return first_found("celeba", [Files(root, (PARTITION, *(faces or [ARCHIVE])))], REMEDY)


def words(spec: DatasetSpec) -> dict[str, str]:
    assert isinstance(spec, CelebA)
    crop = f"centre of {spec.crop}x{spec.crop}" if spec.crop else "squeezed to a square"
    return {"split": _SPLIT, "transform": _TRANSFORM.format(crop=crop, size=spec.size)}


def decode(spec: DatasetSpec, files: Files) -> Split:
    assert isinstance(spec, CelebA)
    parts = _parts(files.root / PARTITION)
    with _opened(files) as open_file:
        train, held_out = (
            stacked((_face(open_file, name, spec.crop) for name, of in parts if of == part), spec.size, 3)
            for part in (_TRAIN, _TEST)
        )
    return Split(train, held_out)


def _parts(path: Path) -> list[tuple[str, str]]:
    with path.open("rb") as file:
        verify(file, MD5[PARTITION], path, REMEDY)
    pairs = (line.split() for line in path.read_text().splitlines())
    return [(f"{_FOLDER}/{name}", part) for name, part in pairs]


@contextmanager
def _opened(files: Files) -> Iterator[Callable[[str], IO[bytes]]]:
    """Yield a function that opens a face by its name."""
    if ARCHIVE not in files.names:
        yield lambda name: (files.root / name).open("rb")
        return
    path = files.root / ARCHIVE
    with path.open("rb") as file:
        verify(file, MD5[ARCHIVE], path, REMEDY)
    with ZipFile(path) as archive:
        yield archive.open


def _face(open_file: Callable[[str], IO[bytes]], name: str, crop: int | None) -> Image.Image:
    try:
        with open_file(name) as file:
            face = read_picture(file, "RGB", f"data set celeba: {name}")
    except FileNotFoundError as error:
        raise DataError(f"data set celeba: {error.filename} is missing; {REMEDY}") from error
    if face.size != _SIZE:
        raise DataError(f"data set celeba: {name} is not of 178x218 pixels; {REMEDY}")
    return centre(face, crop) if crop else face
