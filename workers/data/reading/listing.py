"""What lies in a folder of images of one's own: its pictures, and what is left out."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from workers.data.reading.files import Files, several

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_FOREIGN = {"__MACOSX", "@eaDir"}
"""Folders that macOS puts into archives, and Synology beside pictures: what they hold is not the user's."""


def listing(root: Path) -> Files:
    """The pictures at any depth of a folder, sorted by path. Links are followed; what is hidden is not there.

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
    """Every file below `root`. A folder that several links reach is visited once."""
    waiting, seen = deque([root]), set()
    while waiting:
        # Links are followed last, so that a linked folder keeps the class of its real place.
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
