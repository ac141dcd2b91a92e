"""Checksummed objects in a store: what is damaged is reported, removed and made again, never used."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from search_spaces.canonical import canonical_json
from workers.store import Store

_MAGIC = b"tombola1 "
_log = logging.getLogger("tombola")


def seal(payload: bytes) -> bytes:
    """`payload` behind one line that holds its SHA-256."""
    return _header(payload) + b"\n" + payload


def unseal(data: bytes) -> bytes | None:
    """The payload of sealed `data`, or None if it is not what was sealed."""
    header, _, payload = data.partition(b"\n")
    return payload if header == _header(payload) else None


def _header(payload: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(payload).hexdigest().encode()


class Objects:
    """Reads and commits sealed objects by name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, name: str) -> bytes | None:
        """The payload under `name`; None if there is none, or if it was damaged and has been removed."""
        data = self.store.get(name)
        if data is None:
            return None
        payload = unseal(data)
        if payload is None:
            _log.warning("%s is damaged in store %s: it is removed and will be made again", name, self.store.uri)
            self.store.delete(name)
        return payload

    def commit(self, name: str, payload: bytes) -> bool:
        """Store `payload` unless `name` is taken; False if it was, and the earlier commit stays."""
        return self.store.put_if_absent(name, seal(payload))

    def read_fact(self, name: str) -> Any:
        """The JSON value under `name`, or None."""
        payload = self.read(name)
        return None if payload is None else json.loads(payload)

    def commit_fact(self, name: str, fact: Any) -> bool:
        return self.commit(name, canonical_json(fact).encode())
