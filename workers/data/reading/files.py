"""The files of a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path

from workers.data.reading.card import DataError, MissingDataError
from workers.data.reading.folders import data_folder

_LONGEST = 200
"""The most characters of a path that a message shows."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files by their paths relative to `root`. `left_out` describes other files in that folder, which are not read."""

    root: Path
    names: tuple[str, ...]
    left_out: str = ""

    def missing(self) -> list[str]:
        return [name for name in self.names if not (self.root / name).is_file()]

    def stamp(self) -> list[tuple[str, int, int]]:
        """Path, size in bytes and modification time of each file, which show whether a file has changed.

        Paths are in hex, because they may not be valid UTF-8.
        """
        stats = ((name, (self.root / name).stat()) for name in self.names)
        return [(os.fsencode(name).hex(), stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def first_found(dataset: str, candidates: Iterable[Files], remedy: str) -> Files:
    """The first of `candidates` of which all files exist.

    Raises:
        MissingDataError: if there is none; the message says where they were looked for, what is there, and what is
            missing.
    """
    missing: list[list[str]] = []
    roots: dict[Path, None] = {}
    for files in candidates:
        missing.append(files.missing())
        roots[files.root] = None
        if not missing[-1]:
            return files
    places = " or ".join(f"{shown(root)} ({_content(root)})" for root in roots)
    wanted = several(min(missing, key=len))
    raise MissingDataError(
        f"data set {dataset}: its files are not in {places}, or not all of them; missing: {wanted}; {remedy}"
    )


def several(names: Sequence[str], most: int = 6) -> str:
    """Text for a message: the first `most` of `names`, and how many more there are."""
    told = ", ".join(shown(name) for name in names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def shown(path: Path | str) -> str:
    """A path as text for a message: on one line, shortened, and printable whatever its bytes are."""
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}...{name[-_LONGEST // 2 :]}"


def _content(root: Path) -> str:
    """What a folder holds, for a message. If it does not exist: what the nearest folder above it holds.

    Only folders within the data folder are shown in its place.
    """
    above = root
    while not above.is_dir():
        if not above.is_relative_to(data_folder()) or above == data_folder():
            return "no such folder"
        above = above.parent
    names = sorted(path.name + "/" * path.is_dir() for path in above.iterdir() if not path.name.startswith("."))
    if above == root:
        return f"there: {several(names)}" if names else "an empty folder"
    return f"no such folder; in {shown(above)}: {several(names) or 'nothing'}"


def verify(content: BufferedReader | BytesIO, md5: str, path: Path, remedy: str) -> None:
    """Check by its MD5 that `content`, which was read from `path`, is the official file.

    Raises:
        DataError: if it is not.
    """
    if hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest() != md5:
        raise DataError(
            f"{shown(path)} is damaged: its checksum is not that of the official file; delete it and {remedy}"
        )
