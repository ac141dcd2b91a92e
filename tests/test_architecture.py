"""The house, as docs/architecture.md draws it: rooms import one way, and are small enough to be looked over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "workers", "orchestrator")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def imports(module: str) -> Iterator[str]:
    """The modules of ours that a module imports."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in inner)


def folder(module: str) -> str:
    """The folder of a module; one that lies in a package itself stands for itself."""
    if MODULES[module].name == "__init__.py":
        return module
    above = module.rpartition(".")[0]
    return module if above in PACKAGES else above


def rooms(package: str) -> list[str]:
    """The rooms of a package, in the order of its table."""
    table = re.search(rf"^\| `{package}/` .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert table, package
    firsts = [line.split("|")[1] for line in table[0].splitlines()[2:] if line.strip()]
    return [name.removesuffix(".py").removesuffix("/") for first in firsts for name in re.findall(r"`([^`]+)`", first)]


def test_there_is_no_circle_of_imports_between_modules_or_folders() -> None:
    TopologicalSorter({module: set(imports(module)) for module in MODULES}).prepare()
    folders: dict[str, set[str]] = {}
    for module in MODULES:
        others = {folder(name) for name in imports(module)} - {folder(module)}
        folders.setdefault(folder(module), set()).update(others)
    TopologicalSorter(folders).prepare()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_that_the_map_has_above_it(package: str) -> None:
    order = rooms(package)
    own = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
    assert set(order) == own - {"__init__"}, "the map has every room"
    for module in MODULES:
        parts = module.split(".")
        if parts[0] != package or len(parts) == 1:
            continue
        for name in imports(module):
            other = name.split(".")
            assert PACKAGES.index(other[0]) <= PACKAGES.index(package), f"{module} imports {name}"
            if other[0] == package and len(other) > 1:
                assert order.index(other[1]) <= order.index(parts[1]), f"{module} imports {name}"


def test_a_folder_has_at_most_12_modules_and_a_module_at_most_300_lines() -> None:
    modules: dict[Path, list[str]] = {}
    for path in MODULES.values():
        if path.name != "__init__.py":
            modules.setdefault(path.parent, []).append(path.name)
    assert not {folder: names for folder, names in modules.items() if len(names) > 12}
    assert not {path: n for path in MODULES.values() if (n := len(path.read_text().splitlines())) > 300}
