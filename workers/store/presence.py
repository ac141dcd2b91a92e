"""Presence: a running process keeps a sign of life in the store, so that others can see there that it runs."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.store import names
from workers.store.backends import Store, StoreError

_log = logging.getLogger("tombola")

BEAT = 10.0
"""Seconds between signs of life."""

SILENT_BEATS = 3
"""A process counts as dead after this number of missing signs of life."""


class Sign:
    """A sign of life under `name`, renewed every `beat` seconds while a `with` block runs.

    It is not renewed while this process is stopped or the store fails; another process can then take it over, and it
    is `lost`. If this process is killed, the sign becomes old.
    """

    def __init__(self, store: Store, name: str, beat: float = BEAT) -> None:
        self._store, self._name, self._beat = store, name, beat
        self._token = uuid.uuid4().hex
        self._left = threading.Event()
        self._lost = False
        self._renewed = 0.0
        self._pulse = threading.Thread(target=self._keep, name=f"presence {name}", daemon=True)

    def take(self) -> bool:
        """Write the sign; False if another process that is alive has written it, or writes it at this moment."""
        held = self._store.get(self._name)
        return _alive(held, self._beat) is None and self._give(held)

    def __enter__(self) -> Sign:
        self._pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._pulse.join()
        with self._failures_noted():
            held = self._store.get(self._name)
            if self._is_own(held):
                self._store.replace(self._name, None, held)

    def lost(self) -> bool:
        """Whether another process has taken the sign over, after this one was silent for too long."""
        if not self._lost and time.time() - self._renewed > 2 * self._beat:
            self._renew()
        return self._lost

    def _keep(self) -> None:
        while True:
            self._renew()
            if self._left.wait(self._beat):
                return

    def _renew(self) -> None:
        with self._failures_noted():
            for _ in range(_TRIES):  # another process may replace the sign meanwhile
                held = self._store.get(self._name)
                # Another process may have taken over while this one was silent, and may have left already.
                silent = 0 < self._renewed < time.time() - SILENT_BEATS * self._beat
                if not self._is_own(held) and (silent or _alive(held, self._beat)):
                    self._lost = True
                if self._lost or self._give(held):
                    return

    @contextmanager
    def _failures_noted(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:  # a full disk, say: what needs the store fails with it, too
            _log.debug("no sign of life under %s: %s", self._name, error)

    def _give(self, held: bytes | None) -> bool:
        now = time.time()
        given = self._store.replace(self._name, self._sign(now), if_unchanged=held)
        if given:
            self._renewed = now
        return given

    def _sign(self, now: float) -> bytes:
        facts = {"host": platform.node(), "pid": os.getpid(), "time": now, "token": self._token}
        return json.dumps(facts).encode()

    def _is_own(self, held: bytes | None) -> bool:
        sign = _read(held)
        return sign is not None and sign.get("token") == self._token


def running(store: Store) -> dict[str, dict[str, Any]]:
    """Return the trials with a recent sign of life: host, process id and time of the sign, by trial id."""
    signs = {name: alive(store, name) for name in store.list(names.RUNNING)}
    return {name.removeprefix(f"{names.RUNNING}/").removesuffix(".json"): sign for name, sign in signs.items() if sign}


def alive(store: Store, name: str, beat: float = BEAT) -> dict[str, Any] | None:
    """Return the sign under `name`; None if it is old, or if its process is known to have ended."""
    return _alive(store.get(name), beat)


def _alive(held: bytes | None, beat: float) -> dict[str, Any] | None:
    sign = _read(held)
    if sign is None or not -_DAY < time.time() - sign["time"] < SILENT_BEATS * beat:
        return None
    return None if sign["host"] == platform.node() and not _runs(sign["pid"]) else sign


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # a process of another user
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _read(held: bytes | None) -> dict[str, Any] | None:
    """Parse a sign; None if it is damaged."""
    try:
        sign = json.loads(held or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(sign, dict):
        return None
    host, pid, when = (sign.get(key) for key in ("host", "pid", "time"))
    whole = isinstance(host, str) and type(pid) is int and isinstance(when, int | float) and 0 < when < 1e12
    return sign if whole else None


_TRIES = 3

_DAY = 86400.0
"""Seconds that the clocks of two machines may differ. A sign from further in the future is ignored."""
