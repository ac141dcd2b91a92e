"""The JSON schema of a sweep file, by which editors complete and check it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from search_spaces.base.registry import NamedSpec
from search_spaces.datasets import datasets
from search_spaces.methods import Finder, methods
from search_spaces.models import models
from search_spaces.sweep import Sweep

_NUMBER = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_ROUNDS = {
    "type": "object",
    "properties": {"rounds": {"type": "integer", "minimum": 1, "maximum": 100}},
    "required": ["rounds"],
    "additionalProperties": False,
}
_SPARSITY = {"anyOf": [_NUMBER, _ROUNDS]}
_SEED = {"anyOf": [{"type": "integer", "minimum": 0}, {"$ref": "#/$defs/Seed"}]}
_WRITTEN = {
    "sparsities": {"anyOf": [_SPARSITY, {"type": "array", "items": _SPARSITY}]},
    "seeds": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "array", "items": _SEED, "minItems": 1}]},
}
"""How sparsities and seeds are written. The specs have what they are expanded to."""


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a sweep, with all models, data sets and methods that are registered."""
    schema = Sweep.model_json_schema()
    for registry in (models, datasets, methods):
        for spec in registry.specs:
            own = spec.model_json_schema()
            schema["$defs"] |= own.pop("$defs", {})
            schema["$defs"][spec.__name__] = own | {"required": sorted({"name", *own.get("required", ())})}
    schema["$defs"] |= {
        "ModelSpec": _one_of(models.specs),
        "DatasetSpec": _one_of(datasets.specs),
        "Method": _one_of(methods.specs),
        "Finder": _one_of(spec for spec in methods.specs if issubclass(spec, Finder)),
    }
    schema["properties"] |= _WRITTEN
    schema["$defs"]["Source"]["properties"]["seed"] = {"anyOf": [_SEED, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _one_of(specs: Iterable[type[NamedSpec]]) -> dict[str, Any]:
    """A name, or a mapping with a name and its options."""
    specs = list(specs)
    names = {"enum": sorted(spec.model_fields["name"].default for spec in specs)}
    return {"anyOf": [names, *({"$ref": f"#/$defs/{spec.__name__}"} for spec in specs)]}
