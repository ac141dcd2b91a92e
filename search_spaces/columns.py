"""Options of a trial's model, data set, method and recipe, as columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from search_spaces.base.canonical import canonical_json
from search_spaces.datasets import datasets
from search_spaces.methods import methods
from search_spaces.models import models
from search_spaces.transfer import Transfer  # noqa: F401 - the import registers it
from search_spaces.trial import Recipe

_APART = {"name", "rewind", "of", "source"}
"""Fields that are not options, because other columns hold them."""


def options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the JSON spec of a trial by their columns, such as `model.width` and `recipe.lr`.

    Lists and mappings become canonical JSON. A control has its own options and those of its finder. Options that
    begin with `source.` describe the trial or the file that a transfer takes its ticket from.
    """
    return {
        name: canonical_json(value) if isinstance(value, dict | list) else value for name, value in raw_options(spec)
    }


def raw_options(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the same options as (column, value); lists and mappings stay as they are."""
    method = spec["method"]
    finder = method.get("of") or {}
    for noun in ("model", "dataset", "recipe"):
        yield from ((f"{noun}.{name}", value) for name, value in spec[noun].items() if name not in _APART)
    yield from ((f"method.{name}", value) for name, value in method.items() if name not in _APART)
    for name, value in finder.items():
        if name not in _APART:
            yield (f"method.of.{name}" if name in method else f"method.{name}"), value
    yield from ((f"source.{name}", value) for name, value in _source(finder or method).items())


def built_in() -> dict[str, type]:
    """Return the columns of tombola's built-in options with their types. A column with mixed types is text."""
    found: dict[str, set[type]] = {}
    for noun, registry in (("model", models), ("dataset", datasets), ("method", methods)):
        for spec in registry.specs:
            if spec.__module__.startswith(f"{__package__}."):
                for name, field in spec.model_fields.items():
                    found.setdefault(f"{noun}.{name}", set()).update(_types(field.annotation))
    for name, field in Recipe.model_fields.items():
        found[f"recipe.{name}"] = _types(field.annotation)
    columns = {name: kinds for name, kinds in found.items() if name.partition(".")[2] not in _APART}
    texts: dict[str, set[type]] = {f"source.{name}": {str} for name in ("model", "dataset", "method")}
    return {name: _joint(kinds) for name, kinds in (columns | texts).items()}


def _source(finder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a transfer's source, without its seed and sparsity."""
    source = finder.get("source") or {}
    if source.get("trial"):
        trial = source["trial"]
        names = {noun: trial[noun]["name"] for noun in ("model", "dataset", "method")}
        return {**names, "epochs": trial["epochs"], **dict(raw_options(trial))}
    if source.get("imported"):
        model = {f"model.{name}": value for name, value in source["imported"]["model"].items()}
        return {"model": model.pop("model.name"), "sha256": source["imported"]["sha256"], **model}
    return {}


def _types(annotation: Any) -> set[type]:
    """Return the types of a field's values, except None. A compound type counts as text."""
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*(_types(each) for each in get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if annotation is type(None):
        return set()
    return {annotation if annotation in (bool, int, float, str) else str}


def _joint(kinds: set[type]) -> type:
    if len(kinds) == 1:
        return next(iter(kinds))
    return float if kinds == {int, float} else str
