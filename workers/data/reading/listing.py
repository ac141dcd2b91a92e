"""The content of a user's image folder: its pictures, and what is left out."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from workers.data.reading.files import Files, several

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_FOREIGN = {"__MACOSX", "@eaDir"}
"""Folders that macOS adds to archives and Synology adds beside pictures. They hold nothing that the user put there."""


def listing(root: Path) -> Files:
    """The pictures in a folder, at any depth, sorted by path. Links are followed; hidden files and folders are ignored.

    Raises:
        OSError: if a folder cannot be read.
    """
    pictures, others, nowhere = [], [], []
    for path in _paths(root):
        name = path.relative_to(root).as_posix()
        if not path.is_file():
            nowhere.append(name)
        elif path.suffix.lower() in _SUFFIXES:
            pictures.append(name)
        else:
            others.append(path.suffix.lower() or "no suffix")
    return Files(root, tuple(sorted(pictures)), "; ".join(_told(others, nowhere)))


def _paths(root: Path) -> Iterator[Path]:
    """Every visible file below `root`. A folder that several links lead to is visited once."""
    waiting, seen = deque([root]), set()
    while waiting:
        # Follow links last: a folder that is also linked then counts under its real path, which sets its class.
        for folder, folders, names in os.walk(waiting.popleft(), onerror=_raise):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(_visible(folders))
            waiting += [link for link in map(Path(folder).joinpath, folders) if link.is_symlink()]
            yield from map(Path(folder).joinpath, _visible(names))


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".") and name not in _FOREIGN]


def _told(others: list[str], nowhere: list[str]) -> Iterator[str]:
    if others:
        kinds = sorted(Counter(others).items(), key=lambda kind: (-kind[1], kind[0]))
        yield f"files of other kinds ({several([f'{count} {suffix}' for suffix, count in kinds])})"
    if nowhere:
        yield f"links to nowhere ({several(sorted(nowhere))})"


def _raise(error: OSError) -> None:
    raise error
