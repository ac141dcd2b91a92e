"""The JSON schema says of a sweep file what loading says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import search_spaces
from search_spaces import SweepError, load_sweep
from search_spaces.loading import _read
from search_spaces.schema import json_schema
from tests.toys import toy_sweep

SWEEPS = sorted(Path(search_spaces.__file__).parent.rglob("*.yaml"))
CHECK = jsonschema.Draft202012Validator(json_schema())


def _as_editors_read(value: Any) -> Any:
    """What YAML 1.2 makes of a value: `1e-3` is a number there, and text for PyYAML."""
    if isinstance(value, dict):
        return {key: _as_editors_read(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_editors_read(inner) for inner in value]
    return float(value) if isinstance(value, str) and re.fullmatch(r"[0-9.]+e-?[0-9]+", value) else value


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_that_ships_is_valid(path: Path) -> None:
    assert not [error.message for error in CHECK.iter_errors(_as_editors_read(_read(path)))]


@pytest.mark.parametrize(
    "change",
    [
        {"models": ["gan"]},
        {"models": [{"name": "vae", "widht": 4}]},
        {"methods": [{"name": "reinit", "of": "dense"}]},
        {"epochs": 0},
        {"sparsities": [1.5]},
        {"sparsities": {"rounds": 0}},
        {"seeds": []},
        {"recipe": {"lr": "fast"}},
        {"evaluation": {"distances": {"features": "vgg"}}},
        {"colour": "blue"},
    ],
)
def test_what_cannot_be_loaded_is_not_valid(change: dict[str, Any]) -> None:
    sweep = {**toy_sweep(), **change}
    assert not list(CHECK.iter_errors(toy_sweep()))
    assert list(CHECK.iter_errors(sweep))
    with pytest.raises(SweepError):
        load_sweep(sweep)
