"""Canonical JSON, and the digests that identify all results."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Serialise `value` in a unique form: keys sorted, no spaces, `None` entries of mappings left out.

    Because `None` is left out, a later version can add an optional setting without changing any existing key.

    Raises:
        ValueError: if a float is NaN or infinite.
    """
    return json.dumps(_without_none(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _without_none(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
