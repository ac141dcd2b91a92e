"""Matching of trials by their fields, for overrides and exclusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AXES = ("model", "dataset", "method", "sparsity", "seed")

Condition = Mapping[str, Any]
"""Maps dotted fields of a trial (`model`, `model.width`, `seed.init`) to the required value, or to a list of such."""


def checked_condition(condition: Any) -> Condition:
    """Return `condition` if it is a mapping whose keys are fields of trials.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(condition, Mapping) or not condition:
        raise ValueError(f"must be a mapping of fields to values; fields start with {', '.join(AXES)}")
    for field in condition:
        if str(field).split(".")[0] not in AXES:
            raise ValueError(f"unknown field {field!r}; fields start with {', '.join(AXES)}")
    return condition


def matches(condition: Condition, fields: Mapping[str, Any]) -> bool:
    """Whether a trial's `fields` (nested mappings) satisfy all entries of `condition`."""
    return all(_equal(_lookup(fields, path), wanted) for path, wanted in condition.items())


def values_in(condition: Condition) -> int:
    """Count the values that a condition names."""
    return sum(len(wanted) if isinstance(wanted, list) else 1 for wanted in condition.values())


def _lookup(fields: Any, path: str) -> Any:
    for step in path.split("."):
        fields = fields.get(step) if isinstance(fields, Mapping) else None
    return fields


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_equal(value, item) for item in wanted)
    if isinstance(value, Mapping):
        value = value.get("name")
    if isinstance(value, float) and isinstance(wanted, int | float):
        return abs(value - wanted) <= 1e-9
    return bool(value == wanted)
