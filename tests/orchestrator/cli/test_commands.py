"""The command, as a user meets it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from orchestrator import cli, results, sweeps
from search_spaces import load_sweep
from tests.command import Tombola, only_trial, write
from workers import __version__
from workers.store.backends import open_store

REPOSITORY = Path(__file__).parents[3]


def test_a_sweep_from_plan_to_results(tombola: Tombola, sweep: str) -> None:
    planned = json.loads(tombola("plan", sweep, "--json").out)
    assert planned["trials"] == 5
    assert planned["epochs"] == planned["epochs_missing"] == 4 + 2 * 3 + 2 * 3
    assert planned["hours"] > 0

    ran = tombola("run", sweep)
    assert ran.code == 0, ran.err
    assert "5 done, 0 running, 0 failed, 0 diverged, 0 missing" in ran.out
    assert "results.trials(" in ran.out

    again = tombola("run", sweep)
    assert again.code == 0
    assert json.loads(tombola("plan", sweep, "--json").out)["epochs_missing"] == 0
    assert tombola("status", sweep).out.count("done  ") == 5

    table = pd.read_csv(io.StringIO(tombola("results", sweep, "--csv").out))
    assert len(table) == 5
    filtered = tombola("results", sweep, "--csv", "--where", "sparsity > 0.3 and method == 'imp'").out
    assert pd.read_csv(io.StringIO(filtered))["sparsity"].tolist() == [0.36]


def test_progress_is_told_in_lines_where_there_is_no_terminal(tombola: Tombola, sweep: str) -> None:
    out = tombola("run", sweep).out
    assert out.count("done  ") >= 5
    assert "imp 0.36 seed 0/0" in out
    assert "\x1b" not in out


def test_a_finished_sweep_trains_nothing_in_another_process(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    code = (
        "import sys; from orchestrator import cli; sys.argv = ['tombola', 'run', sys.argv[1]]\n"
        "try: cli.main()\nexcept SystemExit as left: assert not left.code\n"
    )
    before = set(open_store("tombola-store").list("ledger"))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code, sweep], check=True, env=environment, timeout=60)
    assert set(open_store("tombola-store").list("ledger")) == before


def test_explain_shows_the_chain_and_who_shares_it(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    out = tombola("explain", only_trial("imp", 0.36)).out
    for step in (
        "initialise",
        "train epochs 1 to 1",
        "train epochs 2 to 4",
        "by magnitude to density 0.64",
        "evaluate",
    ):
        assert step in out
    assert "shuffle_layer 0.36 seed 0/0 shares" in out
    assert " no " not in out


def test_the_version_is_said(tombola: Tombola) -> None:
    assert tombola("--version").out == f"tombola {__version__}\n"


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(("gpus", "told"), [(0, 0), (2, 1)])
def test_gpus_that_no_trial_uses_are_told_of_once(
    tombola: Tombola,
    sweep: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: str,
    gpus: int,
    told: int,
) -> None:
    monkeypatch.setattr(cli, "gpus_here", lambda: gpus)
    monkeypatch.setattr(cli.Session, "run", lambda session: None)
    monkeypatch.setattr(cli.Session, "tell", lambda session, ended, store: 0)
    tombola(command, sweep)
    assert [record.getMessage()[:21] for record in caplog.records] == ["this machine has 2 GP"] * told


@pytest.mark.parametrize("command", ["plan", "run", "resume"])
def test_a_bad_sweep_ends_in_one_sentence_and_writes_nothing(tombola: Tombola, tmp_path: Path, command: str) -> None:
    bad = write(tmp_path / "bad.yaml", sparsities=[20])
    ran = tombola(command, bad)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == f"tombola: {bad}: sparsities: sparsity 20 is outside [0, 1); write 0.2 for 20 %\n"
    assert not Path("tombola-store").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.yaml"), "missing.yaml: cannot be read: No such file"),
        (("explain", "0123456789abcdef"), "--store tombola-store: there is no store at file://"),
        (("error", "0123456789abcdef"), "--store tombola-store: there is no store at file://"),
        (("export", "0123456789abcdef", "x"), "--store tombola-store: there is no store at file://"),
        (("status", "{sweep}"), "--store tombola-store: there is no store at file://"),
        (("results", "{sweep}"), "--store tombola-store: there is no store at file://"),
        (("resume", "{sweep}", "--trial", "0123456789abcdef"), "sweep.yaml has no such trial"),
        (("run", "{sweep}", "--local", "--address", "auto"), "--local and --address: give one or the other"),
        (("run", "{sweep}", "--local", "--workers", "2"), "--local and --workers: give one or the other"),
        (("status", "{sweep}", "--store", "ftp://x/y"), "not a store that tombola can open"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(
    tombola: Tombola, sweep: str, arguments: tuple[str, ...], message: str
) -> None:
    ran = tombola(*(argument.format(sweep=sweep) for argument in arguments))
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not Path("tombola-store").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "0123456789abcdef"), "no trial '0123456789abcdef' in store"),
        (("error", "0123456789abcdef"), "no trial '0123456789abcdef' in store"),
        (("export", "0123456789abcdef", "x"), "no trial '0123456789abcdef' in store"),
        (
            ("results", "{sweep}", "--where", "sparsty > 1"),
            "--where 'sparsty > 1': there is no column 'sparsty'; did you",
        ),
        (("results", "{sweep}", "--where", "sparsity >"), "--where 'sparsity >':"),
        (("results", "{sweep}", "--where", "("), "--where '(':"),
        (("results", "{sweep}", "--where", "1"), "--where '1':"),
    ],
)
def test_what_a_store_does_not_hold_ends_in_one_sentence(
    tombola: Tombola, sweep: str, arguments: tuple[str, ...], message: str
) -> None:
    sweeps.record(load_sweep(sweep), open_store("tombola-store"))
    ran = tombola(*(argument.format(sweep=sweep) for argument in arguments))
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", ["plan", "run", "resume"])
def test_a_store_that_cannot_be_written_ends_in_one_sentence(tombola: Tombola, sweep: str, command: str) -> None:
    Path("blocked").mkdir()
    for name in ("objects", "sweeps", "tmp"):
        Path("blocked", name).touch()
    ran = tombola(command, sweep, "--store", "blocked")
    assert ran.code == 2
    assert re.fullmatch(r"tombola: --store \S+/blocked: cannot (list|write|replace) [^\n]+\n", ran.err)


def test_history_and_masks_stand_once_however_often_a_trial_is_evaluated(tombola: Tombola, tmp_path: Path) -> None:
    for samples in (50, 20):
        sweep = write(tmp_path / "sweep.yaml", sparsities=[0.2], evaluation={"samples": samples, "grid": 0})
        tombola("run", sweep)
    assert len(results.trials("tombola-store")) == 2
    assert not results.masks("tombola-store")["parameter"].duplicated().any()
    assert not results.history("tombola-store").duplicated(["line", "epoch", "quantity"]).any()
    assert tombola("export", only_trial("imp", 0.2), "ticket.safetensors").code == 0


@pytest.mark.parametrize("change", [{"recipe": {"batch": 5000}}, {"resources": {"gpus": 1}}])
def test_a_sweep_that_cannot_run_here_writes_nothing(tombola: Tombola, tmp_path: Path, change: dict[str, Any]) -> None:
    if "resources" in change and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the sweep asks for")
    ran = tombola("run", write(tmp_path / "sweep.yaml", **change))
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert not Path("tombola-store").exists()


def test_the_schema_of_a_sweep_has_its_plugins(tombola: Tombola, sweep: str) -> None:
    shipped, own = (json.loads(tombola("schema", *arguments).out) for arguments in ((), (sweep,)))
    assert "vae" in shipped["$defs"]["ModelSpec"]["anyOf"][0]["enum"]
    assert "toy_digits" in own["$defs"]["DatasetSpec"]["anyOf"][0]["enum"]
