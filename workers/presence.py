"""Presence: a sign of life in the store for as long as something runs, so that others can see it from there alone."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers import names
from workers.store import Store

BEAT = 10.0
"""Seconds between signs of life."""

SILENT = 3 * BEAT
"""Seconds without one after which who gave it is taken for dead."""


@contextmanager
def present(store: Store, name: str) -> Iterator[None]:
    """Show a sign of life under `name` until the block is left. If the process is killed the sign grows old."""
    left = threading.Event()

    def beat() -> None:
        while True:
            store.delete(name)
            store.put_if_absent(name, sign())
            if left.wait(BEAT):
                return

    pulse = threading.Thread(target=beat, name=f"presence {name}", daemon=True)
    pulse.start()
    try:
        yield
    finally:
        left.set()
        pulse.join()
        store.delete(name)


def running(store: Store) -> dict[str, dict[str, Any]]:
    """The trials that show a recent sign of life: host, process id and time of the sign, by trial id."""
    signs = {name: alive(store, name) for name in store.list(names.RUNNING)}
    return {name.removeprefix(f"{names.RUNNING}/").removesuffix(".json"): sign for name, sign in signs.items() if sign}


def sign() -> bytes:
    """A sign of life of this process, as of now."""
    return json.dumps({"host": platform.node(), "pid": os.getpid(), "time": time.time()}).encode()


def alive(store: Store, name: str) -> dict[str, Any] | None:
    """The sign under `name`, unless it is old or of a process that is known to have ended."""
    sign = _read(store.get(name))
    if sign is None or time.time() - sign["time"] >= SILENT:
        return None
    return None if sign.get("host") == platform.node() and not _runs(sign["pid"]) else sign


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _read(data: bytes | None) -> dict[str, Any] | None:
    try:
        sign = json.loads(data or b"null")
    except ValueError:
        return None  # a damaged sign says nothing
    whole = isinstance(sign, dict) and isinstance(sign.get("time"), int | float) and isinstance(sign.get("pid"), int)
    return sign if whole else None
