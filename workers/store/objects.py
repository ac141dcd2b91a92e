"""Objects with checksums in a store. A damaged one is reported, removed and made again, but never used."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from safetensors import SafetensorError

from search_spaces.base.canonical import canonical_json
from search_spaces.errors import typed_line
from workers.store.backends import Store

_log = logging.getLogger("tombola")

T = TypeVar("T")


def seal(name: str, payload: bytes) -> bytes:
    """Prepend a line with the SHA-256 of `payload` and of the name that it is stored under."""
    return _header(name, payload) + b"\n" + payload


def unseal(name: str, data: bytes) -> bytes:
    """Return the payload of bytes that were sealed under `name`.

    Raises:
        ValueError: if the bytes have changed, or were sealed under another name.
    """
    header, _, payload = data.partition(b"\n")
    if header not in (_header(name, payload), _header_of_any_name(payload)):
        raise ValueError("its checksum is another")
    return payload


def _header(name: str, payload: bytes) -> bytes:
    return b"tombola2 " + hashlib.sha256(name.encode() + b"\n" + payload).hexdigest().encode()


def _header_of_any_name(payload: bytes) -> bytes:
    """The header in older stores, whose seals did not include the name."""
    return b"tombola1 " + hashlib.sha256(payload).hexdigest().encode()


_OTHER_FORM = (ValueError, TypeError, LookupError, EOFError, RecursionError, OverflowError, SafetensorError)
"""Errors that parsers raise for bytes that they cannot read."""


class Objects:
    """Reads and commits sealed objects by name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, name: str) -> bytes | None:
        """Return the payload under `name`; None if there is none, or if it was damaged and has been removed."""
        return self.parsed(name, bytes)

    def parsed(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Read the payload under `name` and return it parsed; None if there is none, or if it was damaged.

        A payload that `parse` cannot read counts as damaged. Other errors, such as too little memory, have causes on
        this machine, and are raised.
        """
        data = self.store.get(name)
        if data is None:
            return None
        try:
            return parse(unseal(name, data))
        except _OTHER_FORM as error:
            why = typed_line(error)
            _log.warning(
                "%s is damaged in store %s (%s): it is removed and will be made again", name, self.store.uri, why
            )
            self.store.delete(name)
            return None

    def commit(self, name: str, payload: bytes) -> bool:
        """Store `payload` under `name`. If the name is taken, change nothing and return False."""
        return self.store.put_if_absent(name, seal(name, payload))

    def read_fact(self, name: str, kind: type[T]) -> T | None:
        """Return the JSON value under `name` as a `kind`; None if there is none, or if it was damaged."""
        form: Any = kind
        parse: Callable[[bytes], T] = _adapter(form).validate_json
        return self.parsed(name, parse)

    def commit_fact(self, name: str, fact: Any) -> bool:
        return self.commit(name, canonical_json(fact).encode())

    def replace_fact(self, name: str, fact: Any) -> None:
        """Store `fact` under `name` in place of what is there. If another process replaces it just now, that wins."""
        sealed = seal(name, canonical_json(fact).encode())
        self.store.replace(name, sealed, if_unchanged=self.store.get(name))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
