"""Presence: a sign of life in the store for as long as a trial runs, so that others can see it from there alone."""

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
"""Seconds without one after which a trial is taken for dead."""


@contextmanager
def present(store: Store, trial_id: str) -> Iterator[None]:
    """Show that the trial runs until the block is left. If the process is killed the sign grows old."""
    name = names.running(trial_id)
    left = threading.Event()

    def beat() -> None:
        while True:
            sign = {"host": platform.node(), "pid": os.getpid(), "time": time.time()}
            store.delete(name)
            store.put_if_absent(name, json.dumps(sign).encode())
            if left.wait(BEAT):
                return

    pulse = threading.Thread(target=beat, name=f"presence of {trial_id}", daemon=True)
    pulse.start()
    try:
        yield
    finally:
        left.set()
        pulse.join()
        store.delete(name)


def running(store: Store) -> dict[str, dict[str, Any]]:
    """The trials that show a recent sign of life: host, process id and time of the sign, by trial id."""
    found = {}
    for name in store.list(names.RUNNING):
        sign = _read(store.get(name))
        if sign and time.time() - sign["time"] < SILENT:
            found[name.removeprefix(f"{names.RUNNING}/").removesuffix(".json")] = sign
    return found


def _read(data: bytes | None) -> dict[str, Any] | None:
    try:
        sign = json.loads(data or b"null")
    except ValueError:
        return None  # a damaged sign says nothing
    return sign if isinstance(sign, dict) and isinstance(sign.get("time"), int | float) else None
