"""Plugins: a user's own modules. Importing them registers names that a sweep can use."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, model_validator


class WithPlugins(BaseModel):
    """A pydantic model that imports its plugins before it looks up any name."""

    plugins: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _import_plugins(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            import_plugins(value.get("plugins"))
        return value

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # Unpickling imports only modules of pickled classes. A plugin that adds a backbone, say, has none.
        super().__setstate__(state)
        import_plugins(self.plugins)


imported_at: dict[str, float] = {}
"""When each plugin, by its first name, was imported here, in seconds since 1970."""


def import_plugins(modules: Any) -> None:
    """Import every module named in a list.

    Raises:
        ValueError: if `modules` is not a list of names, or a module cannot be imported.
    """
    if not isinstance(modules, list | tuple | None) or not all(isinstance(name, str) for name in modules or ()):
        raise ValueError("plugins: must be a list of importable module names")
    for name in modules or ():
        if name not in sys.modules:
            imported_at[name.partition(".")[0]] = time.time()
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            where = "; PYTHONPATH has to name its folder" if _is_not_found(name, error) else ""
            raise ValueError(f"plugins: cannot import {name!r}: {type(error).__name__}: {error}{where}") from error


def _is_not_found(name: str, error: BaseException) -> bool:
    """Whether the plugin itself was not found, and not a module that it imports."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
