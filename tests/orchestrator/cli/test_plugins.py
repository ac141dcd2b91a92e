"""What the command says of trials whose plugin is not here, or does not know any more what it once registered."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import results
from search_spaces.methods import methods
from tests.command import Tombola, write
from workers.searches import controls
from workers.settling.plugin_code import code_of

PLUGIN = "lab_that_goes"
CODE = """
from typing import Literal
from search_spaces.methods import Control, methods
from workers.searches import controls

@methods.register
class Odd(Control):
    name: Literal["odd"] = "odd"

controls["odd"] = lambda lab, method, ticket: ticket
"""


@pytest.fixture
def odd(tombola: Tombola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The id of a trial by a control that a plugin brought, which is forgotten as if this were another process."""
    monkeypatch.setattr(methods, "_specs", dict(methods._specs))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{PLUGIN}.py").write_text(CODE)
    method = {"name": "odd", "of": "imp"}
    file = write(tmp_path / "odd.yaml", methods=[method], sparsities=[0.36], plugins=["tests.toys", PLUGIN])
    assert tombola("run", file).code == 0
    methods._specs.pop("odd")
    sys.modules.pop(PLUGIN)
    yield str(results.trials("tombola-store")["trial_id"][0])
    sys.modules.pop(PLUGIN, None)
    controls.pop("odd", None)


def takes_from(trial_id: str, path: Path) -> str:
    transfer = {"name": "transfer", "source": {"trial_id": trial_id}}
    return write(path / "takes.yaml", name="takes", methods=[transfer], sparsities=[0.36])


def commands(odd: str, path: Path) -> list[tuple[str, ...]]:
    takes = takes_from(odd, path)
    shown = [("status", "odd.yaml"), ("results", "odd.yaml"), ("plan", "odd.yaml")]
    return [("explain", odd), ("export", odd, "x"), ("run", takes), ("status", takes), ("plan", takes), *shown]


def test_without_its_plugin_a_trial_is_told_of_in_one_sentence(tombola: Tombola, odd: str, tmp_path: Path) -> None:
    (tmp_path / f"{PLUGIN}.py").unlink()
    for command in commands(odd, tmp_path):
        ran = tombola(*command)
        assert ran.code == 2, command
        assert ran.err.count("\n") == 1, command
        assert f"plugins: cannot import {PLUGIN!r}" in ran.err, command
        assert "PYTHONPATH has to name its folder" in ran.err, command
    assert "has no error: it is done" in tombola("error", odd).err


def test_a_control_that_is_not_registered_any_more_is_told_of_in_one_sentence(
    tombola: Tombola, odd: str, tmp_path: Path
) -> None:
    (tmp_path / f"{PLUGIN}.py").write_text("")
    for command in commands(odd, tmp_path):
        ran = tombola(*command)
        assert ran.code == 2, command
        assert ran.err.count("\n") == 1, command
        assert "unknown method 'odd'" in ran.err, command
        assert PLUGIN in ran.err or "odd.yaml" in ran.err, command


def test_a_control_that_nothing_makes_is_told_of_in_one_sentence(tombola: Tombola, odd: str, tmp_path: Path) -> None:
    (tmp_path / f"{PLUGIN}.py").write_text(CODE.rpartition("controls")[0])
    controls.pop("odd")
    ran = tombola("plan", "odd.yaml")
    assert ran.code == 2
    assert (
        "'odd' is registered, but nothing makes it: its plugin has to set workers.searches.controls['odd']" in ran.err
    )
    assert tombola("explain", odd).code == 2


def test_a_plugin_that_was_edited_is_told_of_wherever_its_trials_are_looked_for(
    tombola: Tombola, odd: str, tmp_path: Path
) -> None:
    code_of.cache_clear()
    (tmp_path / f"{PLUGIN}.py").write_text(f"{CODE}\n# edited")
    for command in ("plan", "status", "results"):
        ran = tombola(command, "odd.yaml")
        assert ran.code == 0
        assert "plugins have changed" in ran.out + ran.err, command
    ran = tombola("results", "odd.yaml", "--csv")
    assert "plugins have changed" in ran.err
    assert "plugins have changed" not in ran.out


def test_what_needs_nothing_of_a_plugin_that_is_gone_works(tombola: Tombola, odd: str, tmp_path: Path) -> None:
    (tmp_path / f"{PLUGIN}.py").unlink()
    other = write(tmp_path / "other.yaml", name="other", methods=["imp"], sparsities=[0.36])
    assert tombola("run", other).code == 0
    rows = results.trials("tombola-store").set_index("trial_id")
    own = next(trial for trial in rows.index if trial != odd)
    assert tombola("explain", own).code == 0
    assert tombola("run", takes_from(own, tmp_path)).code == 0
