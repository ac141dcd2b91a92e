"""The command, as a user meets it."""

import io
import json
import os
import platform
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from orchestrator import cli, results, sweeps
from search_spaces import load_sweep
from tests.command import Tombola, write
from tests.toys import TOY_MODELS
from workers import __version__, names
from workers.archive import Archive
from workers.ledger import Ledger
from workers.objects import Objects
from workers.rows import write_unsuccessful
from workers.snapshot import weights_only
from workers.stages import Line, State
from workers.store import open_store

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    return write(tmp_path / "sweep.yaml", methods=["dense", "imp", "shuffle_layer"], sparsities={"rounds": 2})


def only_trial(sweep: str, method: str, sparsity: float, store: str = "tombola-store") -> str:
    rows = results.trials(store)
    return str(rows[(rows["method"] == method) & (rows["sparsity"] == sparsity)]["trial_id"].iloc[0])


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
    assert "linear_autoencoder toy_digits imp 0.36 seed 0/0" in out
    assert "\x1b" not in out


def test_a_finished_sweep_trains_nothing_and_loads_no_torch(tombola: Tombola, sweep: str) -> None:
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
    out = tombola("explain", only_trial(sweep, "imp", 0.36)).out
    for step in (
        "initialise",
        "train epochs 1 to 1",
        "train epochs 2 to 4",
        "by magnitude to density 0.64",
        "evaluate",
    ):
        assert step in out
    assert "shuffle_layer(imp) 0.36 seed 0/0 shares" in out
    assert " no " not in out


def test_an_exported_ticket_is_used_in_three_lines(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    trial_id = only_trial(sweep, "imp", 0.36)
    assert tombola("export", trial_id, "ticket.safetensors").code == 0

    ticket = load_file("ticket.safetensors")
    masks = {name.removeprefix("mask/"): mask for name, mask in ticket.items() if name.startswith("mask/")}
    weights = {name: w * masks.get(name, 1) for name, w in ticket.items() if not name.startswith("mask/")}

    decoder = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1024), torch.nn.Tanh())
    theirs = [weights[f"decoder.{n}.linear.{k}"] for n in ("from_code", "up1") for k in ("weight", "bias")]
    decoder.load_state_dict(dict(zip(decoder.state_dict(), theirs, strict=True)))
    assert decoder(torch.zeros(1, 4)).shape == (1, 1024)
    mask = results.mask("tombola-store", trial_id)
    assert all(mask[name].equal(kept) for name, kept in masks.items())
    with safe_open("ticket.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["trial"])["sparsity"] == 0.36
    assert json.loads(metadata["roles"])["decoder.up1.linear.weight"] == "decode.up1.linear.weight"


def test_a_failed_trial_is_told_mended_and_resumed(tombola: Tombola, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    models = [TOY_MODELS["linear_autoencoder"], {"name": "faulty", "broken": str(broken)}]
    sweep = write(tmp_path / "sweep.yaml", models=models, sparsities=[0.2])
    ran = tombola("run", sweep)
    assert ran.code == 1
    assert "1 done, 0 running, 1 failed" in ran.out
    assert "tombola resume" in ran.out
    assert "RuntimeError: out of ink" in tombola("status", sweep).out
    broken.unlink()
    assert tombola("run", sweep).code == 1, "run leaves failed trials alone"
    resumed = tombola("resume", sweep)
    assert resumed.code == 0
    assert "1 failed trials are tried again, 7 epochs are left" in resumed.out
    assert "2 done, 0 running, 0 failed" in resumed.out


def test_a_model_that_kills_its_process_fails_alone(tombola: Tombola, tmp_path: Path) -> None:
    models = [{"name": "deadly"}, TOY_MODELS["linear_autoencoder"]]
    sweep = write(tmp_path / "deadly.yaml", models=models, methods=["dense"], epochs=2, rewind=0)
    assert tombola("plan", sweep).code == 0
    ran = tombola("run", sweep)
    assert ran.code == 1
    assert "1 done, 0 running, 1 failed" in ran.out
    assert "a step of it killed the process that measured it" in ran.out


def test_divergence_is_a_result_that_resume_leaves_alone(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", recipe={"batch": 20, "lr": 1e30}, sparsities=[0.2])
    assert tombola("run", sweep).code == 0
    assert "0 done, 0 running, 0 failed, 1 diverged" in tombola("resume", sweep).out


def test_divergence_is_forgotten_where_that_is_asked_for(tombola: Tombola, tmp_path: Path) -> None:
    cause = tmp_path / "broken"
    cause.write_text("nan")
    sweep = write(tmp_path / "sweep.yaml", models=[{"name": "faulty", "broken": str(cause)}], sparsities=[0.2])
    assert "1 diverged" in tombola("run", sweep).out
    cause.unlink()
    assert "0 failed trials are tried again" in tombola("resume", sweep).out
    resumed = tombola("resume", sweep, "--diverged").out
    assert "1 failed and diverged trials are tried again" in resumed
    assert "1 done, 0 running, 0 failed, 0 diverged" in resumed


def test_some_trials_are_resumed_and_no_others(tombola: Tombola, sweep: str) -> None:
    pruned, other = (trial.id for trial in load_sweep(sweep).trials()[1:3])
    ran = tombola("resume", sweep, "--trial", pruned, "--trial", other)
    assert ran.code == 0
    assert set(results.trials("tombola-store")["trial_id"]) == {pruned, other}
    assert "2 done, 0 running, 0 failed, 0 diverged, 3 missing" in tombola("status", sweep).out


def test_nothing_is_forgotten_while_another_process_runs_the_sweep(tombola: Tombola, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    sweep = write(tmp_path / "faulty.yaml", models=[{"name": "faulty", "broken": str(tmp_path / "broken")}])
    assert tombola("run", sweep).code == 1
    store = open_store("tombola-store")
    sign = {"host": platform.node(), "pid": os.getppid(), "time": time.time(), "token": "another"}
    store.replace(names.driver("toy"), json.dumps(sign).encode(), if_unchanged=None)
    ran = tombola("resume", sweep)
    assert ran.code == 2
    assert "is already being run" in ran.err
    assert set(results.trials("tombola-store")["status"]) == {"failed"}


def test_a_trial_that_was_resumed_alone_says_nothing_of_others(tombola: Tombola, tmp_path: Path) -> None:
    broken = [tmp_path / name for name in ("one", "other")]
    for each in broken:
        each.touch()
    models = [{"name": "faulty", "broken": str(each)} for each in broken]
    sweep = write(tmp_path / "faulty.yaml", models=models, methods=["dense"])
    assert tombola("run", sweep).code == 1
    broken[0].unlink()
    rows = results.trials("tombola-store")
    mended = rows["trial_id"][rows["model.broken"] == str(broken[0])].item()
    ran = tombola("resume", sweep, "--trial", mended)
    assert ran.code == 0
    assert "1 done, 0 running, 1 failed" in ran.out
    assert "the first with" not in ran.out


def test_what_to_do_next_is_ready_to_be_pasted(
    tombola: Tombola, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    sweep = write(tmp_path / "my sweep.yaml", models=[{"name": "faulty", "broken": str(broken)}], sparsities=[0.2])
    out = tombola("run", sweep, "--store", "a store").out
    broken.unlink()
    for verb in ("error", "status", "resume"):
        command = next(words for words in re.findall(r"`(tombola [^`]*)`", out) if words.split()[1] == verb)
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == 0
        assert "--store 'a store'" in command
        assert ("--local" in command) == (verb == "resume")
    assert "1 done, 0 running, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "nan"])
def test_the_error_of_a_trial_is_its_stage_its_line_and_its_traceback(
    tombola: Tombola, tmp_path: Path, content: str
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(content)
    sweep = write(tmp_path / "sweep.yaml", models=[{"name": "faulty", "broken": str(broken)}], sparsities=[0.2])
    tombola("run", sweep)
    row = results.trials("tombola-store").iloc[0]
    shown = tombola("error", row["trial_id"]).out.splitlines()
    assert shown[0] == f"{row['trial_id']}  faulty toy_digits imp 0.2 seed 0/0"
    assert shown[1] == f"{row['status']}: {row['error']}"
    assert shown[1].startswith(f"{'diverged' if content else 'failed'}: train ")
    assert re.match(r'at File ".*\.py", line \d+, in \w+', shown[2])
    assert shown[4] == "Traceback (most recent call last):"
    assert ("Diverged" if content else "RuntimeError: out of ink") in shown[-1]


def test_a_trial_that_is_done_has_no_error(tombola: Tombola, sweep: str) -> None:
    trial = load_sweep(sweep).trials()[0].id
    tombola("resume", sweep, "--trial", trial)
    assert "has no error: it is done" in tombola("error", trial).err


def test_the_debugger_is_opened_where_the_first_error_was_raised(
    tombola: Tombola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    models = [{"name": "faulty", "broken": str(broken)}, TOY_MODELS["linear_autoencoder"]]
    sweep = write(tmp_path / "sweep.yaml", models=models, sparsities=[0.2])
    monkeypatch.setattr("sys.stdin", io.StringIO("p self.broken\nq\n"))
    ran = tombola("run", sweep, "--pdb")
    assert ran.code == 1
    assert "1 failed, 0 diverged, 1 missing" in ran.out
    assert "out of ink" in ran.out
    assert f"(Pdb) {str(broken)!r}" in ran.out


def test_the_debugger_needs_a_terminal(tombola: Tombola, sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tombola", "run", sweep, "--pdb"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2


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
    monkeypatch.setattr(cli.Session, "run", lambda session: 0)
    tombola(command, sweep)
    assert [record.getMessage()[:21] for record in caplog.records] == ["this machine has 2 GP"] * told


def test_damaged_rows_are_made_again(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    damaged = next(Path("tombola-store", names.TRIALS).iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert "1 missing" in tombola("status", sweep).out
    assert "5 done" in tombola("run", sweep).out
    assert len(results.trials("tombola-store")) == 5


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
        (("resume", "{sweep}", "--trial", "0123456789abcdef"), "--trial 0123456789abcdef: the sweep has no such trial"),
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


def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    sweep = write(
        tmp_path / "sweep.yaml",
        models=[TOY_MODELS["linear_autoencoder"], TOY_MODELS["dcgan"]],
        methods=["imp", "reinit"],
        sparsities={"rounds": 2},
        checkpoint_every={"epochs": 1},
        epochs=12,
    )
    chance = random.Random(1)

    def command(verb: str, store: str) -> list[str]:
        script = "from orchestrator.cli import main; main()"
        return [sys.executable, "-c", script, verb, sweep, "--store", str(tmp_path / store), "--local"]

    def committed() -> int:
        return sum(1 for _ in open_store(str(tmp_path / "killed")).list(names.LEDGER))

    undisturbed = subprocess.Popen(command("run", "whole"), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    for _ in range(4):
        before = committed()
        victim = subprocess.Popen(command("resume", "killed"), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        while committed() == before and victim.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    subprocess.run(command("resume", "killed"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
    assert undisturbed.wait() == 0

    whole, killed = (str(tmp_path / store) for store in ("whole", "killed"))
    ids = results.trials(whole)["trial_id"]
    assert set(results.trials(killed)["trial_id"]) == set(ids)
    for trial_id in ids:
        assert results.mask(killed, trial_id).pack() == results.mask(whole, trial_id).pack()
    for line, epochs in _epochs_by_line(killed).items():
        assert sorted(epochs) == sorted(set(epochs)), f"an epoch of {line} was committed twice"
    assert {line: set(epochs) for line, epochs in _epochs_by_line(killed).items()} == {
        line: set(epochs) for line, epochs in _epochs_by_line(whole).items()
    }


def _epochs_by_line(store: str) -> dict[str, list[int]]:
    epochs: dict[str, list[int]] = {}
    for record in Ledger(Objects(open_store(store))).all():
        epochs.setdefault(record.line, []).extend(epoch.number for epoch in record.epochs)
    return epochs


def test_ctrl_c_finishes_the_epoch_and_says_how_to_go_on(tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=100_000, rewind=0, sparsities=[0.2])
    script = "from orchestrator.cli import main; main()"
    store = tmp_path / "store"
    running = subprocess.Popen(
        [sys.executable, "-c", script, "run", sweep, "--store", str(store), "--local"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    while running.poll() is None and not any(Path(store, "objects", "states").rglob("*.full")):
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "tombola resume" in out
    assert len(list(Path(store, "objects", "states").rglob("*.checkpoint"))) == 1


@pytest.mark.parametrize("dataset", [names.MASKS, names.HISTORY, names.SCORES])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_lost_mask_history_or_score_is_made_again(
    tombola: Tombola, sweep: str, dataset: str, damage: Callable[[Path], None]
) -> None:
    tombola("run", sweep)
    damage(next(Path("tombola-store", dataset).iterdir()))
    assert "1 missing" in tombola("status", sweep).out
    before = set(open_store("tombola-store").list("ledger"))
    assert "5 done" in tombola("run", sweep).out
    assert getattr(results, dataset)("tombola-store")["trial_id"].nunique() == 5
    assert set(open_store("tombola-store").list("ledger")) == before


def test_a_damaged_ledger_ends_no_sweep(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", checkpoint_every={"epochs": 1}, sparsities=[0.2])
    tombola("run", sweep)
    for record in Path("tombola-store", "ledger").rglob("*.checkpoint.json"):
        record.write_bytes(b"")
    sweep = write(tmp_path / "sweep.yaml", checkpoint_every={"epochs": 1}, sparsities=[0.2], evaluation={"samples": 9})
    ran = tombola("run", sweep)
    assert ran.code == 0
    assert "1 done" in ran.out


def test_history_and_masks_stand_once_however_often_a_trial_is_evaluated(tombola: Tombola, tmp_path: Path) -> None:
    for samples in (50, 20):
        sweep = write(tmp_path / "sweep.yaml", sparsities=[0.2], evaluation={"samples": samples, "grid": 0})
        tombola("run", sweep)
    assert len(results.trials("tombola-store")) == 2
    assert not results.masks("tombola-store")["parameter"].duplicated().any()
    assert not results.history("tombola-store").duplicated(["line", "epoch", "quantity"]).any()
    assert tombola("export", only_trial(sweep, "imp", 0.2), "ticket.safetensors").code == 0


def test_a_ticket_that_cannot_be_written_says_so(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    ran = tombola("export", only_trial(sweep, "imp", 0.2), "no/such/folder/x")
    assert ran.code == 2
    assert "cannot be written: No such file" in ran.err


def test_an_error_with_brackets_is_shown_as_it_is(tombola: Tombola, sweep: str) -> None:
    trial = load_sweep(sweep).trials()[0]
    write_unsuccessful(open_store("tombola-store"), trial, "failed", "shape [2, 3] vs [/x]", "")
    assert "shape [2, 3] vs [/x]" in tombola("status", sweep).out


def test_an_exported_ticket_is_the_start_state(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    trial_id = only_trial(sweep, "imp", 0.36)
    tombola("export", trial_id, "ticket.safetensors")
    rows = results.trials("tombola-store").set_index("trial_id")
    line, _, epoch = rows.loc[trial_id, "start_key"].partition("@")
    point = Archive(open_store("tombola-store")).point(State(Line(line), int(epoch)), moments=True)
    ticket = load_file("ticket.safetensors")
    start = weights_only(point.tensors)
    assert all(ticket[name].equal(start[name]) for name in start)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_start_state_that_was_lost_is_made_again_for_export(
    tombola: Tombola, sweep: str, damage: Callable[[Path], None]
) -> None:
    tombola("run", sweep)
    trial_id = only_trial(sweep, "imp", 0.36)
    tombola("export", trial_id, "before.safetensors")
    for state in Path("tombola-store", "objects", "states").rglob("*.full"):
        damage(state)
    assert tombola("export", trial_id, "after.safetensors").code == 0
    before, after = load_file("before.safetensors"), load_file("after.safetensors")
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize("change", [{"recipe": {"batch": 5000}}, {"resources": {"gpus": 1}}])
def test_a_sweep_that_cannot_run_here_writes_nothing(tombola: Tombola, tmp_path: Path, change: dict[str, Any]) -> None:
    if "resources" in change and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the sweep asks for")
    ran = tombola("run", write(tmp_path / "sweep.yaml", **change))
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert not Path("tombola-store").exists()
