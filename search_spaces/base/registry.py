"""The base class of every part of a sweep, and the registries for the names in a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from search_spaces.errors import TombolaError

LARGEST = 2**63
"""Whole numbers must be smaller, so that rows can hold them in 64 bits."""


class Spec(BaseModel):
    """A frozen, hashable part of a sweep. It accepts only its declared keys, and only whole numbers of 64 bits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for key in value:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}; allowed: {', '.join(sorted(cls.model_fields))}")
                if isinstance(value[key], bool) and cls.model_fields[key].annotation is not bool:
                    raise ValueError(f"{key} cannot be {str(value[key]).lower()}")
        return value

    @model_validator(mode="after")
    def _in_64_bits(self) -> Self:
        for key, value in self:
            if isinstance(value, int) and not -LARGEST <= value < LARGEST:
                raise ValueError(f"{key}: must be from -2**63 to 2**63 - 1")
        return self


class NamedSpec(Spec):
    """A spec that a sweep selects by name. The default of `name` is the name that it is registered under."""

    name: str


class UnmadeError(TombolaError):
    """A name that a plugin registered without a maker."""


M = TypeVar("M")


def maker(makers: Mapping[str, M], name: str, place: str) -> M:
    """Return the maker of `name` from a table of makers. `place` is the name of the table for messages.

    Raises:
        UnmadeError: if the table has no such entry.
    """
    if name not in makers:
        raise UnmadeError(f"{name!r} is registered, but nothing makes it: its plugin has to set {place}[{name!r}]")
    return makers[name]


S = TypeVar("S", bound=NamedSpec)


class Registry(Generic[S]):
    """The names that a sweep may use for one noun ('model', 'data set', 'method'), each with a spec of its options."""

    def __init__(self, noun: str, base: type[S]) -> None:
        self.noun = noun
        self.base = base
        self._specs: dict[str, type[S]] = {}

    def register(self, spec: type[S]) -> type[S]:
        """Register `spec` under the default of its field `name`. It is a class decorator."""
        if "<locals>" in spec.__qualname__:
            raise ValueError(
                f"{spec.__qualname__}: define a {self.noun} at the top of its module, so that it can travel"
            )
        name = spec.model_fields["name"].default
        assert isinstance(name, str), f"{spec.__name__} has no default name"
        assert name not in self._specs, f"two specs of a {self.noun} are named {name!r}"
        self._specs[name] = spec
        return spec

    @property
    def names(self) -> list[str]:
        return sorted(self._specs)

    @property
    def specs(self) -> list[type[S]]:
        return list(self._specs.values())

    def parse(self, value: Any) -> S:
        """Parse `value`, which is a spec already, a bare name, or a mapping with a name and options.

        Raises:
            ValueError: for an unknown name, or for options that the named spec does not take.
        """
        if isinstance(value, self.base):
            return value
        options = {"name": value} if isinstance(value, str) else value
        if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
            raise ValueError(f"a {self.noun} is a name or a mapping with a name; known: {', '.join(self.names)}")
        spec = self._specs.get(options["name"])
        if spec is None:
            raise ValueError(f"unknown {self.noun} {options['name']!r}; known: {', '.join(self.names)}")
        return spec.model_validate(options)
