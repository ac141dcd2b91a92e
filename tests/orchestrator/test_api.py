"""tombola from Python."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from tests.command import write
from tests.toys import toy_sweep
from workers.reports import EpochTrained, Report, TrialEnded
from workers.store.backends import open_store

SWEEP = toy_sweep(methods=["dense", "imp"], sparsities=[0.2])


def test_a_sweep_from_a_dict_to_its_results(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    figures = api.plan(SWEEP, store)
    assert figures.estimate.epochs == 4 + 3
    assert "epochs, shared" in repr(figures)
    assert "<th>epochs, shared</th><td>7</td>" in figures._repr_html_()

    reports: list[Report] = []
    done = api.run(api.load(SWEEP), store, listen=reports.append, local=True)
    assert (done.epochs, done.stopped, done.standing.done) == (7, None, 2)
    assert sum(isinstance(report, EpochTrained) for report in reports) == 7
    assert sum(isinstance(report, TrialEnded) for report in reports) == 2
    assert repr(done) == "toy: 2 done, 0 running, 0 failed, 0 diverged, 0 missing; this run trained 7 epochs"

    assert api.run(SWEEP, store.uri, local=True).epochs == 0
    assert api.plan(SWEEP, store).estimate.hours == 0
    trials = api.results.trials(store)
    assert set(trials["trial_id"]) == set(done.trials["trial_id"]) == set(api.status(SWEEP, store).trials["trial_id"])


def test_a_sweep_runs_in_a_thread_where_no_signals_can_be_handled(tmp_path: Path) -> None:
    ended: list[api.Ran] = []
    file = write(tmp_path / "sweep.yaml", methods=["dense"])
    thread = threading.Thread(target=lambda: ended.append(api.run(file, tmp_path / "store", local=True)))
    thread.start()
    thread.join(120)
    assert [ran.standing.done for ran in ended] == [1]


def test_a_script_need_not_guard_its_first_line(tmp_path: Path) -> None:
    write(tmp_path / "sweep.yaml", methods=["dense"])
    script = tmp_path / "script.py"
    script.write_text("from orchestrator import api\nprint('once')\nprint(api.plan('sweep.yaml', 'store'))\n")
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("once") == 1
    assert "hours here" in ran.stdout


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({**SWEEP, "epochs": 0}, "sweep 'toy': epochs: input should be greater than 0, but it is 0"),
        ("nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_loaded_is_told_as_on_the_command_line(sweep: api.AnySweep, message: str) -> None:
    with pytest.raises(api.SweepError) as caught:
        api.load(sweep)
    assert str(caught.value) == message


def test_a_store_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(api.TombolaError, match="there is no store at"):
        api.status(SWEEP, open_store(str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.load(None), "a sweep is a Sweep, a mapping or a path, not None"),
        (lambda: api.plan(SWEEP, store=None), "a store is a Store, a folder or a URI, not None"),
        (lambda: api.results.trials(None), "a store is a Store, a folder or a URI, not None"),
        (lambda: api.run(SWEEP, "store", again=True), "again: must be an Again"),
        (lambda: api.run(SWEEP, "store", max_hours="1"), "max_hours: '1' is no number of hours"),
        (lambda: api.Again(only="abc"), "only: give a list of trial ids"),
    ],
)
def test_arguments_that_cannot_be_are_told_of(call: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(api.TombolaError, match=message):
        call()
