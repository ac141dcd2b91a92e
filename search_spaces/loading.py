"""Reading a sweep from its YAML file, with every mistake told in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.errors import TombolaError, sentence
from search_spaces.sweep import Sweep


class SweepError(TombolaError):
    """A sweep file that cannot be used; the message names the file, the field and what is allowed there."""


def load_sweep(path: str | Path) -> Sweep:
    """The sweep in a YAML file, checked down to its trials, with its plugins imported.

    Raises:
        SweepError: if the file is missing, is no sweep, or asks for something unknown or impossible.
    """
    values = _read(Path(path))
    try:
        sweep = Sweep.model_validate(values)
        sweep.trials()
    except ValidationError as error:
        raise SweepError(f"{path}: {sentence(error)}") from error
    except ValueError as error:
        raise SweepError(f"{path}: {error}") from error
    return sweep


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: is not UTF-8 text") from error
    except OSError as error:
        raise SweepError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or f"{type(error).__name__}: {error}".splitlines()[0]
        raise SweepError(f"{path}{where}: is not plain YAML: {problem}") from error
    if not isinstance(values, Mapping):
        raise SweepError(f"{path}: is no mapping of keys such as name, models and methods")
    return values


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, in which a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
