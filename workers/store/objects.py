"""Checksummed objects in a store: what is damaged is reported, removed and made again, never used."""

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
    """`payload` behind one line that holds the SHA-256 of it and of the name that it is stored under."""
    return _header(name, payload) + b"\n" + payload


def unseal(name: str, data: bytes) -> bytes:
    """The payload of what was sealed under a name.

    Raises:
        ValueError: if it is not what was sealed, or not under that name.
    """
    header, _, payload = data.partition(b"\n")
    if header not in (_header(name, payload), _header_of_any_name(payload)):
        raise ValueError("its checksum is another")
    return payload


def _header(name: str, payload: bytes) -> bytes:
    return b"tombola2 " + hashlib.sha256(name.encode() + b"\n" + payload).hexdigest().encode()


def _header_of_any_name(payload: bytes) -> bytes:
    """What stood before the payload in stores whose seals did not hold names."""
    return b"tombola1 " + hashlib.sha256(payload).hexdigest().encode()


_OTHER_FORM = (ValueError, TypeError, LookupError, EOFError, RecursionError, OverflowError, SafetensorError)
"""What parsers raise for bytes that they cannot read."""


class Objects:
    """Reads and commits sealed objects by name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, name: str) -> bytes | None:
        """The payload under `name`; None if there is none, or if it was damaged and has been removed."""
        return self.parsed(name, bytes)

    def parsed(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Read the payload under `name` and return what `parse` makes of it, in memory.

        If it is of another form than `parse` reads, it counts as damaged. Other errors, such as too little memory, are
        of this machine, and are raised.
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
        """Store `payload` unless `name` is taken; False if it was, and the earlier commit stays."""
        return self.store.put_if_absent(name, seal(name, payload))

    def read_fact(self, name: str, kind: type[T]) -> T | None:
        """The JSON value under `name`, of the type `kind`, or None."""
        form: Any = kind
        parse: Callable[[bytes], T] = _adapter(form).validate_json
        return self.parsed(name, parse)

    def commit_fact(self, name: str, fact: Any) -> bool:
        return self.commit(name, canonical_json(fact).encode())

    def replace_fact(self, name: str, fact: Any) -> None:
        """Have `fact` under `name`, in place of what is there, unless another process replaces that at this moment."""
        sealed = seal(name, canonical_json(fact).encode())
        self.store.replace(name, sealed, if_unchanged=self.store.get(name))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
