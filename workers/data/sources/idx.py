"""MNIST and Fashion-MNIST: 28x28 grey images in files of the IDX format, with or without gzip compression."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from search_spaces.datasets import MNIST, DatasetSpec, FashionMNIST
from workers.data.reading.card import DataError, Images, Labels, Split
from workers.data.reading.files import Files, first_found, verify
from workers.data.reading.folders import data_folder
from workers.data.reading.pictures import enlarged

DEBIAN = Path("/usr/share/datasets/fashion-mnist")

# Checksums of the uncompressed content, because Debian compressed Fashion-MNIST again.
MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}

_SIDE, _MARGIN = 28, 2
_SPLIT = "the official test images held out"
_TRANSFORM = "zero margin of 2 pixels, enlarged to {size} by bilinear interpolation"


class Idx:
    """One of the two data sets. It is read from torchvision's `folder` in the data folder, or from `elsewhere`."""

    def __init__(self, name: str, folder: str, elsewhere: tuple[Path, ...], remedy: str) -> None:
        self._name = name
        self._folder = folder
        self._elsewhere = elsewhere
        self._remedy = remedy

    def files(self, spec: DatasetSpec) -> Files:
        return first_found(self._name, self._candidates(), self._remedy)

    def words(self, spec: DatasetSpec) -> dict[str, str]:
        transform = "none" if _size(spec) == _SIDE else _TRANSFORM.format(size=_size(spec))
        return {"split": _SPLIT, "transform": transform}

    def decode(self, spec: DatasetSpec, files: Files) -> Split:
        train, train_labels, held_out, held_out_labels = (self._array(files.root / name) for name in files.names)
        size = _size(spec)
        return Split(_padded(train, size), _padded(held_out, size), train_labels, held_out_labels)

    def _candidates(self) -> Iterator[Files]:
        for root in (data_folder() / self._folder, *self._elsewhere):
            for suffix in ("", ".gz"):
                yield Files(root, tuple(f"{name}{suffix}" for name in MD5[self._name]))

    def _array(self, path: Path) -> Images | Labels:
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}; delete it and {self._remedy}") from error
        verify(io.BytesIO(content), MD5[self._name][path.name.removesuffix(".gz")], path, self._remedy)
        dimensions = content[3]
        shape = np.frombuffer(content, ">u4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _size(spec: DatasetSpec) -> int:
    assert isinstance(spec, MNIST | FashionMNIST)
    return spec.size


def _padded(images: Images, size: int) -> Images:
    if size == _SIDE:
        return images[:, None]
    return enlarged(np.pad(images[:, None], ((0, 0), (0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))), size)


mnist = Idx("mnist", "MNIST/raw", (), "run with --download")
fashion_mnist = Idx(
    "fashion_mnist",
    "FashionMNIST/raw",
    (DEBIAN,),
    "install the Debian package dataset-fashion-mnist, or run with --download",
)
