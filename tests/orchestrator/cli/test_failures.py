"""What the command says of trials that failed or diverged, and how they are tried again."""

import io
import json
import os
import platform
import re
import shlex
import sys
import time
from pathlib import Path

import pytest

from orchestrator import cli, results
from search_spaces import load_sweep
from tests.command import Tombola, write
from tests.toys import TOY_MODELS
from workers.rows.schema import write_unsuccessful
from workers.store import names
from workers.store.backends import open_store


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
    assert "trials to try again (failed): 1; epochs left to train: 7" in resumed.out
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
    assert "trials to try again (failed): 0;" in tombola("resume", sweep).out
    resumed = tombola("resume", sweep, "--diverged").out
    assert "trials to try again (failed or diverged): 1;" in resumed
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


def test_an_error_with_brackets_is_shown_as_it_is(tombola: Tombola, sweep: str) -> None:
    trial = load_sweep(sweep).trials()[0]
    write_unsuccessful(open_store("tombola-store"), trial, "failed", "shape [2, 3] vs [/x]", "")
    assert "shape [2, 3] vs [/x]" in tombola("status", sweep).out
