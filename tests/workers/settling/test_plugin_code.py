"""What identifies the code of a plugin."""

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search_spaces.base.plugins import import_plugins, imported_at
from tests.toys import toy_trial, toy_trials
from workers.models import backbones
from workers.pruning.criteria import scorers
from workers.searches import searches
from workers.settling.plugin_code import CodeError, code_of, plugin_modules

FILES = {
    "lab_code.py": "import math\nimport numpy\nimport lab_helper\n",
    "lab_helper.py": "def f():\n    from lab_further import x\n",
    "lab_further.py": "x = 1\n",
    "lab_other.py": "x = 1\n",
    "lab_package/__init__.py": "",
    "lab_package/models.py": "from .parts import y\n",
    "lab_package/parts.py": "y = 1\n",
    "lab_package/deep/unused.py": "z = 1\n",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, source in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("lab_")]:
        del sys.modules[name]
    code_of.cache_clear()


def code(module: str) -> str:
    importlib.invalidate_caches()
    code_of.cache_clear()
    return code_of(module)


@pytest.mark.parametrize(
    ("module", "edited", "differs"),
    [
        ("lab_code", "lab_code.py", True),
        ("lab_code", "lab_helper.py", True),
        ("lab_code", "lab_further.py", True),
        ("lab_code", "lab_other.py", False),
        ("lab_package.models", "lab_package/models.py", True),
        ("lab_package.models", "lab_package/parts.py", True),
        ("lab_package.models", "lab_package/deep/unused.py", True),
        ("lab_package.models", "lab_code.py", False),
    ],
)
def test_code_is_that_of_the_module_its_package_and_what_they_import(
    module: str, edited: str, differs: bool, lab: Path
) -> None:
    before = code(module)
    (lab / edited).write_text((lab / edited).read_text() + "# a comment\n")
    assert (code(module) != before) == differs


def test_it_does_not_matter_whether_the_module_or_its_helpers_were_imported_yet(lab: Path) -> None:
    before = code("lab_code")
    importlib.import_module("lab_code").lab_helper.f()
    assert code("lab_code") == before


def test_copies_that_an_editor_keeps_in_a_hidden_folder_are_no_code(lab: Path) -> None:
    before = code("lab_package.models")
    (lab / "lab_package" / ".ipynb_checkpoints").mkdir()
    (lab / "lab_package" / ".ipynb_checkpoints" / "models-checkpoint.py").touch()
    assert code("lab_package.models") == before


def test_a_version_that_the_module_or_its_package_declares_stands_for_its_code(lab: Path) -> None:
    for module, edited in (("lab_code", "lab_code.py"), ("lab_package.models", "lab_package/__init__.py")):
        (lab / edited).write_text("VERSION = 3\n" + FILES[edited])
        importlib.import_module(module)
        before = code(module)
        assert before == f"{module.partition('.')[0]} version 3"
        (lab / edited).write_text("VERSION = 3\n# a comment\n" + FILES[edited])
        assert code(module) == before


@pytest.mark.parametrize("broken", ["def (:\n", "\x00", "é = '"])
def test_a_file_of_a_package_that_is_no_python_is_part_of_its_code_all_the_same(broken: str, lab: Path) -> None:
    before = code("lab_package.models")
    (lab / "lab_package/parts.py").write_text(broken)
    assert code("lab_package.models") != before


def test_a_trial_of_built_in_parts_has_no_code_of_a_plugin() -> None:
    assert plugin_modules(toy_trial()) == {}


@pytest.mark.parametrize("entry", [backbones["conv"], partial(backbones["conv"])])
def test_what_a_plugin_puts_together_of_parts_that_are_not_its_own_is_of_all_plugins(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backbones, "alias", entry)
    (trial,) = toy_trials(models=[{"name": "vae", "width": 4, "backbone": "alias"}], sparsities=[0.2])
    assert plugin_modules(trial) == {"model": ("tests.toys",)}


def test_a_partial_is_of_the_plugin_whose_function_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scorers, "magnitude", partial(scorers["magnitude"], toy_trial))
    assert plugin_modules(toy_trial()) == {"scorer": ("tests.toys",)}


def own(*arguments: object) -> None: ...


def test_the_parts_of_a_trial_that_plugins_bring_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    (model,) = toy_trials(models=[{"name": "faulty", "broken": "nothing"}], sparsities=[0.2])
    assert plugin_modules(model) == {"model": ("tests.toys",)}
    tables: list[tuple[str, dict[str, Callable[..., object]]]] = [("scorer", scorers), ("search", searches)]  # type: ignore[list-item]
    for part, table in tables:
        with monkeypatch.context() as patched:
            patched.setitem(table, "magnitude" if part == "scorer" else "imp", own)
            assert plugin_modules(toy_trial()) == {part: (__name__,)}


def test_what_a_wrapper_has_made_is_of_all_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrapped(*arguments: object) -> None: ...

    wrapped.__module__ = "lab_helper"
    monkeypatch.setitem(scorers, "magnitude", wrapped)
    assert plugin_modules(toy_trial()) == {"scorer": ("lab_helper", "tests.toys")}


def test_code_that_has_changed_since_it_was_imported_is_refused(lab: Path) -> None:
    import_plugins(["lab_code"])
    assert code_of("lab_code")
    code_of.cache_clear()
    later = time.time() + 10
    os.utime(lab / "lab_helper.py", (later, later))
    with pytest.raises(CodeError, match=r"lab_helper\.py has changed since plugin 'lab_code' was imported"):
        code_of("lab_code")
    imported_at.pop("lab_code")
