"""The store: named bytes under a URI, behind four calls, each object whole or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from search_spaces.errors import TombolaError
from workers import names


class StoreError(TombolaError):
    """A store that cannot be opened or written; the message says which and why."""


class Store(Protocol):
    """Named bytes. A name is a relative path with forward slashes."""

    uri: str

    def get(self, name: str) -> bytes | None:
        """The bytes under `name`, or None if there are none."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Put `data` under `name`, whole or not at all; False if something is there already, which then stays."""

    def list(self, folder: str) -> Iterator[str]:
        """Every name below `folder`, in no stated order."""

    def delete(self, name: str) -> None:
        """Remove what is under `name`, if anything is."""


def open_store(uri: str) -> Store:
    """The store at `uri`: a folder, as a plain path or as `file:///path`. Nothing is written yet.

    Raises:
        StoreError: for another scheme, or a path that is no folder.
    """
    parsed = urlparse(uri)
    if "://" not in uri:
        return LocalStore(Path(uri))
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost"):
        return LocalStore(Path(unquote(parsed.path)))
    raise StoreError(f"--store {uri}: not a store that tombola can open; give a folder or file:///path")


def existing_store(uri: str) -> Store:
    """The store at `uri`, in which something is kept.

    Raises:
        StoreError: if there is none, as where its name is mistyped.
    """
    store = open_store(uri)
    if not any(True for folder in (names.OBJECTS, names.SWEEPS, names.TRIALS) for _ in store.list(folder)):
        raise StoreError(f"--store {uri}: there is no store at {store.uri}; `tombola run` makes one")
    return store


class LocalStore:
    """A store in a folder of a file system that has hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.uri = self.root.as_uri()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"--store {root}: is a file, not a folder")

    def get(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"--store {self.root}: cannot read {name}: {error.strerror}") from error

    def put_if_absent(self, name: str, data: bytes) -> bool:
        path = self.root / name
        if path.exists():
            return False
        scratch = self.root / "tmp" / uuid.uuid4().hex
        try:
            _write(scratch, data)
            path.parent.mkdir(parents=True, exist_ok=True)
            return _link(scratch, path)
        except OSError as error:
            raise StoreError(f"--store {self.root}: cannot write {name}: {error.strerror}") from error
        finally:
            if scratch.parent.is_dir():
                scratch.unlink(missing_ok=True)

    def list(self, folder: str) -> Iterator[str]:
        for path, _, files in os.walk(self.root / folder):
            relative = Path(path).relative_to(self.root).as_posix()
            for file in files:
                yield f"{relative}/{file}"

    def delete(self, name: str) -> None:
        try:
            (self.root / name).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StoreError(f"--store {self.root}: cannot delete {name}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> bool:
    """Let `source` appear as `target` at once, unless the name is taken: the file system elects the first commit."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True
