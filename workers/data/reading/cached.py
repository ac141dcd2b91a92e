"""Data sets that are decoded once; their images are kept as plain arrays on disk and memory-mapped."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import numpy as np
from pydantic import TypeAdapter

from search_spaces.base.canonical import digest
from search_spaces.datasets import DatasetSpec
from workers.data.reading.card import DataError, DatasetCard, Images, Labels, Split
from workers.data.reading.files import Files, shown
from workers.data.reading.folders import decoded_folder

T = TypeVar("T")
_log = logging.getLogger("tombola")


class Decoder(Protocol):
    """A module or object that finds and decodes the files of one data set."""

    def files(self, spec: DatasetSpec) -> Files:
        """The files of the data set.

        Raises:
            DataError: if they are missing; the message says where they were looked for and how to get them.
        """

    def words(self, spec: DatasetSpec) -> dict[str, str]:
        """The `split` and the `transform` in words. They are part of the fingerprint: other words, other data set."""

    def decode(self, spec: DatasetSpec, files: Files) -> Split:
        """The images in `files`.

        Raises:
            DataError: if they are damaged.
        """


class Cached:
    """A data set that is decoded once, and again only when its files change or its cache is damaged."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def card(self, spec: DatasetSpec) -> DatasetCard:
        return self._read(spec, lambda folder: _entry(folder).card)

    def load(self, spec: DatasetSpec) -> Split:
        return self._read(spec, _split)

    def _read(self, spec: DatasetSpec, read: Callable[[Path], T]) -> T:
        words = self._decoder.words(spec)
        try:
            files = self._decoder.files(spec)
            stamp = files.stamp()
        except OSError as error:
            raise DataError(f"data set {spec.name}: its files cannot be read: {shown(str(error))}") from error
        # `left_out` is part of the digest: when it changes, the data set is decoded again, which warns again.
        made_of = {"spec": spec.model_dump(exclude={"fraction"}), "words": words, "files": [stamp, files.left_out]}
        folder = decoded_folder() / digest(made_of)
        if folder.is_dir():
            try:
                return read(folder)
            except (OSError, ValueError, TypeError) as error:
                _log.warning("data set %s: decoded again, for %s is damaged: %s", spec.name, folder, error)
                _remove(folder)
        try:
            _write(folder, self._decoder.decode(spec, files), words)
        except OSError as error:
            raise DataError(f"data set {spec.name}: cannot be decoded into {folder.parent}: {error}") from error
        return read(folder)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The content of card.json, which lies beside the arrays.

    `sha256` holds the SHA-256 of each array's file by the array's name; `checksum` is the digest of card and `sha256`.
    """

    card: DatasetCard
    sha256: dict[str, str]
    checksum: str

    @classmethod
    def of(cls, card: DatasetCard, sha256: dict[str, str]) -> _Entry:
        return cls(card, sha256, digest([asdict(card), sha256]))


_entries = TypeAdapter(_Entry)


def _entry(folder: Path) -> _Entry:
    entry = _entries.validate_json((folder / "card.json").read_bytes())
    if entry != _Entry.of(entry.card, entry.sha256):
        raise DataError("the checksum of card.json is wrong")
    return entry


def _split(folder: Path) -> Split:
    return Split(**{name: _array(folder / f"{name}.npy", sha256) for name, sha256 in _entry(folder).sha256.items()})


def _array(path: Path, sha256: str) -> Images:
    if _sha256_of_file(path) != sha256:
        raise DataError(f"the checksum of {path.name} is wrong")
    # Return a plain view of the memmap: Ray shares plain arrays between processes, but copies memmaps.
    return np.asarray(np.load(path, mmap_mode="r"))


def _write(folder: Path, split: Split, words: Mapping[str, str]) -> None:
    arrays = _arrays(split)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=folder.parent) as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        for name, array in arrays.items():
            np.save(made / f"{name}.npy", array)
        sha256 = {name: _sha256_of_file(made / f"{name}.npy") for name in arrays}
        (made / "card.json").write_bytes(_entries.dump_json(_Entry.of(_card(arrays, words), sha256)))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # if it is there, another process was faster
                raise


def _remove(folder: Path) -> None:
    # Rename first, so that no other process finds half a folder. Another process may have removed it already.
    with TemporaryDirectory(prefix=".", dir=folder.parent) as scratch, suppress(FileNotFoundError):
        folder.rename(Path(scratch) / folder.name)


def _arrays(split: Split) -> dict[str, Images | Labels]:
    arrays = {
        "train": split.train,
        "held_out": split.held_out,
        "train_labels": split.train_labels,
        "held_out_labels": split.held_out_labels,
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}


def _card(arrays: Mapping[str, Images | Labels], words: Mapping[str, str]) -> DatasetCard:
    # Hash the arrays, not their files: another version of numpy may write another header.
    sha256 = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    content = {name: sha256[name] for name in ("train", "held_out")}
    labels = {name: sha256[name] for name in arrays if name not in content}
    channels, height, width = arrays["train"].shape[1:]
    return DatasetCard(
        fingerprint=digest({"content": content, **words}),
        image=(channels, height, width),
        train=len(arrays["train"]),
        held_out=len(arrays["held_out"]),
        classes=1 + max(int(arrays[name].max()) for name in labels) if labels else 0,
        labels=digest(labels) if labels else "",
    )


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
