"""The store: named bytes under a URI, with five operations. An object is there in full or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from search_spaces.errors import TombolaError
from workers.store import names


class StoreError(TombolaError):
    """A store that cannot be opened, read or written. The message says which and why."""


class Store(Protocol):
    """Named bytes. A name is a relative path with forward slashes."""

    uri: str

    def get(self, name: str) -> bytes | None:
        """Return the bytes under `name`, or None if there are none."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Put `data` under `name` atomically. If the name is taken, change nothing and return False."""

    def replace(self, name: str, data: bytes | None, if_unchanged: bytes | None) -> bool:
        """Replace what is under `name` by `data`, atomically. If it is no longer `if_unchanged`, return False.

        None as `if_unchanged` means that the name must be free; None as `data` deletes what is there.
        """

    def list(self, folder: str) -> Iterator[str]:
        """Yield all names below `folder`, in any order."""

    def delete(self, name: str) -> None:
        """Remove what is under `name`, if there is anything."""


def open_store(uri: Store | str | Path) -> Store:
    """Open the store at `uri`: a folder, as a plain path or as `file:///path`. Writes nothing.

    An open store is returned as it is.

    Raises:
        StoreError: if the scheme is another, or the path cannot be a folder.
    """
    if not isinstance(uri, str | Path):
        if not hasattr(uri, "put_if_absent"):
            raise StoreError(f"a store is a Store, a folder or a URI, not {uri!r:.60}")
        return uri
    try:
        return LocalStore(_folder(str(uri)))
    except StoreError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, or an unknown ~user
        raise StoreError(f"--store {uri}: no folder can have this name: {_reason(error)}") from error


def _folder(uri: str) -> Path:
    parsed = urlparse(uri) if "://" in uri else None
    if parsed and (parsed.scheme != "file" or parsed.netloc not in ("", "localhost")):
        raise StoreError(f"--store {uri}: not a store that tombola can open; give a folder or file:///path")
    path = unquote(parsed.path) if parsed else uri
    if not path:
        raise StoreError(f"--store {uri!r}: names no folder")
    return Path(path)


def existing_store(uri: Store | str | Path) -> Store:
    """Open the store at `uri`, which must not be empty.

    Raises:
        StoreError: if nothing is kept there, for example because the name is mistyped.
    """
    store = open_store(uri)
    if not any(True for folder in (names.OBJECTS, names.SWEEPS, names.TRIALS) for _ in store.list(folder)):
        raise StoreError(
            f"--store {store.uri if uri is store else uri}: there is no store at {store.uri}; `tombola run` makes one"
        )
    return store


class LocalStore:
    """A store in a folder of a file system that has hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.uri = self.root.as_uri()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"--store {root}: is a file, not a folder")

    def get(self, name: str) -> bytes | None:
        with self._told(f"cannot read {name}"):
            try:
                return (self.root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put_if_absent(self, name: str, data: bytes) -> bool:
        path = self.root / name
        with self._told(f"cannot write {name}"):
            if path.exists():
                return False
            with self._scratch(data) as scratch:
                path.parent.mkdir(parents=True, exist_ok=True)
                return self._link(scratch, path)

    def replace(self, name: str, data: bytes | None, if_unchanged: bytes | None) -> bool:
        path = self.root / name
        with self._told(f"cannot replace {name}"), self._lock():
            if self.get(name) != if_unchanged:
                return False
            if data is None:
                path.unlink(missing_ok=True)
                return True
            with self._scratch(data) as scratch:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch.replace(path)
            return True

    def list(self, folder: str) -> Iterator[str]:
        def fail(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        with self._told(f"cannot list {folder}"):
            for path, _, files in os.walk(self.root / folder, onerror=fail):
                relative = Path(path).relative_to(self.root).as_posix()
                for file in files:
                    yield f"{relative}/{file}"

    def delete(self, name: str) -> None:
        with self._told(f"cannot delete {name}"):
            try:
                (self.root / name).unlink(missing_ok=True)
            except NotADirectoryError:
                return

    def _link(self, source: Path, target: Path) -> bool:
        """Link `source` as `target` atomically; False if the name is taken. Of several processes, one succeeds."""
        try:
            os.link(source, target)
        except FileExistsError:
            if not target.exists():
                raise OSError(errno.EEXIST, "there is a link to nothing in its place") from None
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            raise StoreError(
                f"--store {self.root}: the file system refuses hard links, which a store needs; give another folder"
            ) from error
        return True

    @contextmanager
    def _scratch(self, data: bytes) -> Iterator[Path]:
        """Provide a temporary file that contains `data`."""
        path = self.root / "tmp" / uuid.uuid4().hex
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock that `replace` needs. The system releases it if the process is killed."""
        path = self.root / "tmp" / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _PATIENCE
        with path.open("wb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(
                            f"--store {self.root}: another process has held {path} for {_PATIENCE:.0f} s; if it is "
                            f"stopped, end it"
                        ) from None
                    time.sleep(0.01)
            yield

    @contextmanager
    def _told(self, problem: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
            raise StoreError(f"--store {self.root}: {problem}: {_reason(error)}") from error


_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_PATIENCE = 10.0
"""Seconds to wait for the lock. Another process holds it for milliseconds, unless that process is stopped."""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
