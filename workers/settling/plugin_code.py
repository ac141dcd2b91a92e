"""Plugin code: the plugin modules that define parts of a trial, and the identity of a module's code."""

from __future__ import annotations

import ast
import hashlib
import math
import sys
from collections.abc import Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from site import getsitepackages, getusersitepackages
from types import FunctionType
from typing import Any

from search_spaces.base.canonical import digest
from search_spaces.base.plugins import imported_at
from search_spaces.errors import TombolaError
from search_spaces.models import Composed
from search_spaces.trial import Trial

_OURS = {"search_spaces", "workers", "orchestrator"}
_INSTALLED = [Path(place).resolve() for place in (*getsitepackages(), getusersitepackages())]


def plugin_modules(trial: Trial) -> dict[str, tuple[str, ...]]:
    """Return the modules that define those of `model`, `scorer` and `search` that plugins bring to a trial.

    A plugin may add an entry to a table that has no code of the plugin, such as a class of tombola under another name.
    For such an entry, the result has all plugins of the trial.
    """
    finder, method, model = trial.finder, trial.method, trial.model
    backbone = model.backbone if isinstance(model, Composed) else None
    entries = {
        "model": [("workers.models", "builders", model.name), ("workers.models", "backbones", backbone)],
        "scorer": [("workers.pruning.criteria", "scorers", finder.criterion.score if finder else None)],
        "search": [
            ("workers.searches", "controls", method.name),
            ("workers.searches", "searches", finder.name if finder else None),
        ],
    }
    specs = {"model": (type(model),), "scorer": (), "search": (type(method), type(finder))}
    found = {
        part: {module for spec in specs[part] if not _is_ours(module := _module(spec))}.union(
            *(_brought(*entry, trial.plugins) for entry in own)
        )
        for part, own in entries.items()
    }
    return {part: tuple(sorted(modules)) for part, modules in found.items() if modules}


def _brought(module: str, table: str, name: str | None, plugins: tuple[str, ...]) -> set[str]:
    """Return the plugin modules that define the entry `name` of a table in one of tombola's modules.

    A plugin that added an entry has imported that module. So nothing is imported here, and planning with built-in parts
    needs no torch.
    """
    holder = sys.modules.get(module)
    made = getattr(holder, table, {}).get(name)
    if made is None or made is holder.BUILT_IN[table].get(name):  # type: ignore[union-attr]
        return set()
    parts = list(_parts(made))
    modules = {module for part in parts if not _is_ours(module := _module(part))}
    # What a function has made, or an object that is called, may hold code of any plugin.
    plain = all(isinstance(part, FunctionType | type) and "<locals>" not in part.__qualname__ for part in parts)
    return modules if modules and plain else modules | set(plugins)


def _parts(made: Any) -> Iterator[Any]:
    """Yield the parts of an entry of a table: of a partial, its function and arguments; else the entry itself."""
    if isinstance(made, partial):
        for part in (made.func, *made.args, *made.keywords.values()):
            yield from _parts(part)
    else:
        yield made


def _module(made: Any) -> str:
    name: str = getattr(made, "__module__", None) or type(made).__module__
    return name


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in {*_OURS, "builtins"}


class CodeError(TombolaError):
    """A trial whose plugins have other code here than the trial names, or than was imported."""


@cache
def code_of(module: str) -> str:
    """Return what identifies the code of a module: the VERSION that it or its package declares, or else a digest.

    The digest covers all source files of the module's package, and of modules that these import, unless installed.

    Raises:
        CodeError: if one of these files has changed since the plugin was imported.
    """
    package = module.partition(".")[0]
    for name in (module, package):
        version = getattr(sys.modules.get(name), "VERSION", None)
        if version is not None:
            return f"{name} version {version}"
    return f"{module} {digest(_sources(package))[:16]}"


def _sources(package: str) -> dict[str, str]:
    """Return the SHA-256 of each source file of a top-level module or package, and of what it imports."""
    found: dict[str, str] = {}
    seen, pending = set[str](), [package]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            for label, path in _files(name, own=name == package):
                if path.stat().st_mtime > imported_at.get(package, math.inf):
                    raise CodeError(f"{path} has changed since plugin {package!r} was imported; start Python again")
                content = path.read_bytes()
                found[label] = hashlib.sha256(content).hexdigest()
                pending += _imported(content)
    return found


def _files(name: str, own: bool) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a module or package, with labels that do not depend on its location.

    For an installed module it yields none, unless that is the plugin itself.
    """
    try:
        spec = None if name in _OURS or name in sys.stdlib_module_names else find_spec(name)
    except (ImportError, ValueError):  # an optional import that is missing, or a module without a file
        spec = None
    if spec is None:
        return
    folders = [Path(folder).resolve() for folder in spec.submodule_search_locations or ()]
    files = [(f"{name}/{path.relative_to(folder).as_posix()}", path) for folder in folders for path in _python(folder)]
    if not folders and spec.origin and spec.origin.endswith(".py"):
        files = [(f"{name}.py", Path(spec.origin).resolve())]
    yield from (file for file in files if own or not any(file[1].is_relative_to(place) for place in _INSTALLED))


def _python(folder: Path) -> list[Path]:
    """List the Python files of a package, without those in hidden folders, where editors keep copies."""
    files = sorted(folder.rglob("*.py"))
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _imported(source: bytes) -> set[str]:
    """Return the top-level names of all modules that a source imports, except relative imports."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # a file beside the plugin, in another version of Python
        return set()
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in imported}
