"""Reading a sweep from its YAML file. Every mistake is reported in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.base.registry import LARGEST
from search_spaces.errors import TombolaError, sentence, typed_line
from search_spaces.sweep import Sweep

BYTES, VALUES, DEPTH = 8_000_000, 300_000, 50
"""Limits of a sweep file: its size, its number of values with all aliases expanded, and its nesting depth."""


class SweepError(TombolaError):
    """A sweep file that cannot be used. The message names the file, the field and what is allowed there."""


def load_sweep(sweep: Sweep | Mapping[str, Any] | str | Path) -> Sweep:
    """Load a sweep from a YAML file or a mapping, import its plugins, and check all of its trials.

    Raises:
        SweepError: if the file is missing, is not a sweep, or asks for something unknown or impossible.
    """
    if isinstance(sweep, Sweep):
        return sweep
    if not isinstance(sweep, Mapping | str | Path):
        raise SweepError(f"a sweep is a Sweep, a mapping or a path, not {sweep!r:.60}")
    values = sweep if isinstance(sweep, Mapping) else _read(Path(sweep))
    try:
        loaded = Sweep.model_validate(values)
        loaded.trials()
    except ValidationError as error:
        raise SweepError(f"{name_of(sweep)}: {sentence(error)}") from error
    except ValueError as error:
        raise SweepError(f"{name_of(sweep)}: {error}") from error
    return loaded


def name_of(sweep: Sweep | Mapping[str, Any] | str | Path) -> str:
    """Name a sweep for messages: by its file, or by its name if it has no file."""
    if isinstance(sweep, str | Path):
        return str(sweep)
    name = sweep.name if isinstance(sweep, Sweep) else sweep.get("name")
    return f"sweep {name!r}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES + 1)
    except OSError as error:
        raise SweepError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SweepError(f"{str(path)!r}: cannot be read: {error}") from error
    if len(content) > BYTES:
        raise SweepError(f"{path}: is larger than the {BYTES:,} bytes that a sweep file can have")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: is not UTF-8 text") from error
    try:
        _check_size(text)
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or typed_line(error)
        raise SweepError(f"{path}{where}: is not plain YAML: {problem}") from error
    if not isinstance(values, Mapping):
        raise SweepError(f"{path}: is no mapping of keys such as name, models and methods")
    return values


def _check_size(text: str) -> None:
    """Raise YAMLError if the text would take long to read: too deep, or too many values with aliases expanded."""
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in within):
                raise _problem(f"alias {event.anchor!r} is part of itself", event)
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
        if total > VALUES or len(within) > DEPTH:
            raise _problem(f"it has more than {VALUES:,} values, or is nested deeper than {DEPTH}", event)


class _Loader(yaml.CSafeLoader):
    """Loads the part of YAML that JSON has, too. A key that occurs twice in one mapping is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flat = set[yaml.MappingNode]()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if node not in self._flat:  # once, because flattening adds merged keys, which may repeat its own
            self._flat.add(node)
            _check_keys(node)
            super().flatten_mapping(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node) if len(node.value) < 100 else LARGEST
        if not -LARGEST <= value < LARGEST:
            raise _problem("found a whole number that is not from -2**63 to 2**63 - 1", node)
        return value


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEYS:
            raise _problem("found a key that is no text", key)
        if key.value in seen:
            raise _problem(f"key {key.value!r} stands twice", node)
        seen.add(key.value)


def _problem(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """Return an error with the position of a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


_TAG = "tag:yaml.org,2002:"
_KEYS = (f"{_TAG}str", f"{_TAG}merge")
_known = dict(yaml.CSafeLoader.yaml_constructors)
_Loader.yaml_constructors = {
    **{f"{_TAG}{kind}": _known[f"{_TAG}{kind}"] for kind in ("null", "bool", "float", "str", "seq", "map")},
    None: _known[None],
    f"{_TAG}int": _Loader.construct_yaml_int,
    f"{_TAG}timestamp": _known[f"{_TAG}str"],  # a name may look like a date
}
