"""The files that a data set is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path

from workers.data.card import DataError, MissingDataError


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one folder, by their paths in it."""

    root: Path
    names: tuple[str, ...]

    def exist(self) -> bool:
        return all((self.root / name).is_file() for name in self.names)

    def stamp(self) -> list[tuple[str, int, int]]:
        """What changes whenever a file does."""
        stats = ((name, (self.root / name).stat()) for name in self.names)
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def first_found(dataset: str, candidates: Iterable[Files], remedy: str) -> Files:
    """The first of `candidates` that is there, all of it.

    Raises:
        MissingDataError: if none is; it says where they were looked for.
    """
    looked_in = []
    for files in candidates:
        if files.exist():
            return files
        looked_in.append(str(files.root))
    places = " or ".join(dict.fromkeys(looked_in))
    raise MissingDataError(f"data set {dataset}: its files are not in {places}, or not all of them; {remedy}")


def verify(content: BufferedReader | BytesIO, md5: str, path: Path, remedy: str) -> None:
    """Check that what was read from `path` is the official file.

    Raises:
        DataError: if it is not.
    """
    if hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest() != md5:
        raise DataError(f"{path} is damaged: its checksum is not that of the official file; delete it and {remedy}")
