"""Tiny files in the formats of the real data sets."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def save(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def idx(array: Array) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, contents: dict[str, bytes], *, packed: bool) -> None:
    for name, content in contents.items():
        save(folder / (f"{name}.gz" if packed else name), gzip.compress(content) if packed else content)


def cifar_batch(images: Array, labels: Sequence[int]) -> bytes:
    """A batch as Python 2 pickled it: protocol 2, and all strings are bytes."""
    number = struct.Struct("<i").pack
    rows = images.reshape(len(images), -1)
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = b"J" + number(rows.shape[0]) + b"J" + number(rows.shape[1]) + b"\x86"
    array += b"(K\x01" + shape + dtype + b"\x89T" + number(rows.size) + rows.tobytes() + b"tb"
    classes = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x06labels" + classes + b"U\x04data" + array + b"u."


def write_images(folder: Path, count: int, *, suffix: str = "png", seed: int = 0) -> None:
    """Small colour images, no two of them alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(noise(count, 10, 12, 3, seed=seed)):
        Image.fromarray(pixels).save(folder / f"{i:03}.{suffix}")
