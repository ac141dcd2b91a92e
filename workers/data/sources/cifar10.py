"""CIFAR-10: 32x32 colour photographs in pickles, as a folder or packed in one archive."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from search_spaces.datasets import CIFAR10, DatasetSpec
from workers.data.reading.card import DataError, Split
from workers.data.reading.files import Files, first_found, verify
from workers.data.reading.folders import data_folder
from workers.data.reading.pictures import enlarged

ARCHIVE = "cifar-10-python.tar.gz"
MD5 = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
}

_BATCHES = tuple(name for name in MD5 if name != ARCHIVE)
_REMEDY = "run with --download"
_SPLIT = "the official test batch held out"
_TRANSFORM = "enlarged to {size} by bilinear interpolation"


def files(spec: DatasetSpec) -> Files:
    root = data_folder()
    return first_found("cifar10", [Files(root, _BATCHES), Files(root, (ARCHIVE,))], _REMEDY)


def words(spec: DatasetSpec) -> dict[str, str]:
    assert isinstance(spec, CIFAR10)
    return {"split": _SPLIT, "transform": _TRANSFORM.format(size=spec.size)}


def decode(spec: DatasetSpec, files: Files) -> Split:
    assert isinstance(spec, CIFAR10)
    batches = [_unpickled(content) for content in _contents(files)]
    images = [enlarged(batch[b"data"].reshape(-1, 3, 32, 32), spec.size) for batch in batches]
    labels = [np.array(batch[b"labels"], np.uint8) for batch in batches]
    return Split(np.concatenate(images[:-1]), images[-1], np.concatenate(labels[:-1]), labels[-1])


def _contents(files: Files) -> Iterator[bytes]:
    for name in files.names:
        path = files.root / name
        with path.open("rb") as file:
            verify(file, MD5[name], path, _REMEDY)
    if files.names == (ARCHIVE,):
        with tarfile.open(files.root / ARCHIVE) as archive:
            for name in _BATCHES:
                batch = archive.extractfile(name)
                assert batch is not None, f"the official archive has {name}"
                yield batch.read()
    else:
        for name in _BATCHES:
            yield (files.root / name).read_bytes()


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    """Unpickles numpy arrays and built-in types only, so that a file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(f"data set cifar10: a batch asks for {module}.{name}, which is no image; {_REMEDY}")
        return _ALLOWED[module, name]


def _unpickled(content: bytes) -> dict[bytes, Any]:
    # Python 2 wrote the batches, so strings are read as bytes.
    batch: dict[bytes, Any] = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    return batch
