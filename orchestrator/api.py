"""The Python API of tombola: a few functions that load, plan, run and read a sweep.

    from orchestrator import api

    sweep = api.load("search_spaces/quickstart.yaml")
    api.plan(sweep, store="runs")
    done = api.run(sweep, store="runs")
    done.trials.groupby(["variant", "sparsity"])["reconstruction_mse"].mean()

A sweep argument may be a `Sweep`, a dict with the same content, or a path to its YAML file. A store argument may be a
`Store`, a folder or a URI. Errors are `TombolaError`, a subclass of `ValueError`; the message is the sentence that the
command line prints. The modules `results` and `analysis` are available here too.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import analysis, results, sweeps
from orchestrator.asked import ask, planned
from orchestrator.execution.budget import Limits
from orchestrator.execution.executor import InProcess
from orchestrator.pricing.estimate import Estimate, estimate
from orchestrator.pricing.price import TFLOPS
from orchestrator.terminal.options import Where
from orchestrator.terminal.session import Again, Session, summary
from orchestrator.terminal.tables import plan_facts
from search_spaces import Sweep, SweepError, load_sweep
from search_spaces.errors import TombolaError
from workers import data
from workers.reports import Listener
from workers.store.backends import Store, existing_store, open_store

__all__ = [
    "Again",
    "Figures",
    "Ran",
    "Sweep",
    "SweepError",
    "TombolaError",
    "analysis",
    "load",
    "plan",
    "results",
    "run",
    "status",
]

AnySweep = Sweep | Mapping[str, Any] | str | Path
AnyStore = Store | str | Path


@dataclass(frozen=True, repr=False)
class Figures:
    """Figures of a planned sweep: `estimate` has the numbers, `told` says in sentences what was settled."""

    sweep: Sweep
    estimate: Estimate
    told: tuple[str, ...]

    def __repr__(self) -> str:
        facts = plan_facts(self.sweep.name, self.told, self.estimate)
        width = max(map(len, facts))
        return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())

    def _repr_html_(self) -> str:
        facts = plan_facts(self.sweep.name, self.told, self.estimate)
        rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items())
        return f"<table>{''.join(rows)}</table>"


@dataclass(frozen=True, repr=False)
class Ran:
    """Result of a run, and how the sweep stands after it.

    `trials` has one row for each trial that has ended, with the columns of `results.trials`. `epochs` is the number of
    epochs that this run trained. `stopped` says why the run ended before all trials did, or is None.
    """

    sweep: Sweep
    standing: sweeps.Standing
    epochs: int
    stopped: str | None

    @property
    def trials(self) -> pd.DataFrame:
        return self.standing.rows

    def __repr__(self) -> str:
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return f"{summary(self.sweep, self.standing)}; this run trained {self.epochs:,} epochs{stopped}"


def load(sweep: AnySweep) -> Sweep:
    """Load a sweep, import its plugins, and check all its trials.

    Raises:
        SweepError: if the file does not exist, or if the sweep asks for something unknown or impossible.
    """
    return load_sweep(sweep)


def plan(
    sweep: AnySweep,
    store: AnyStore = "tombola-store",
    *,
    download: bool = False,
    keep_code: bool = False,
    tflops: float = TFLOPS,
) -> Figures:
    """Estimate what a sweep would train, share, keep and cost, as `tombola plan` does. Nothing is trained.

    Arguments:
        sweep: the sweep.
        store: where its results would be kept; what the store already holds costs nothing.
        download: download data sets and weights that the sweep names and that are missing.
        keep_code: treat changed plugins as unchanged, so that the results in the store stay valid.
        tflops: assumed speed of a GPU in TFLOP/s, for the GPU-hours.

    Raises:
        TombolaError: if the sweep cannot be planned, or the store cannot be used.
    """
    place = open_store(store)
    asked = ask(sweep, place, download, planning=True, keep_code=keep_code)
    whole = planned(asked, data.card_or_nominal)
    figures = estimate(whole, place, InProcess().profiles_or_sizes(whole.models, place), tflops)
    return Figures(asked.sweep, figures, tuple(asked.told))


def run(
    sweep: AnySweep,
    store: AnyStore = "tombola-store",
    *,
    listen: Listener = lambda report: None,
    again: Again | None = None,
    address: str | None = None,
    local: bool = False,
    workers: int | None = None,
    max_hours: float | None = None,
    max_gpu_hours: float | None = None,
    download: bool = False,
    keep_code: bool = False,
) -> Ran:
    """Run the missing trials of a sweep, with a progress bar in a terminal or a notebook.

    The first Ctrl-C asks the running trials to stop after their epoch; the second one stops at once. This works only in
    the main thread, because Python handles signals only there.

    Arguments:
        sweep: the sweep.
        store: where everything is kept.
        listen: a function that gets every report of a trial: epochs, stages and ends.
        again: which failed or diverged trials to try again; None means none.
        address: a Ray cluster to join, `auto` or `HOST:PORT`; None starts Ray on this machine.
        local: run one trial after the other in this process, without Ray.
        workers: the most trials that run at once.
        max_hours: stop after this many hours; a later run goes on from there.
        max_gpu_hours: stop when the trials have used this many GPU-hours.
        download: download data sets and weights that the sweep names and that are missing.
        keep_code: treat changed plugins as unchanged, so that the results in the store stay valid.

    Raises:
        TombolaError: if the sweep cannot be run, or the store or the cluster cannot be used.
    """
    place = open_store(store)
    if again is not None and not isinstance(again, Again):
        raise SweepError(f"again: must be an Again, such as api.Again(diverged=True), but it is {again!r}")
    asked = ask(sweep, place, download, keep_code=keep_code)
    session = Session(asked, place, Where(address, local, workers), Limits(max_hours, max_gpu_hours), listen)
    ended = session.run(again)
    return Ran(asked.sweep, ended.standing, ended.ran.epochs, ended.ran.stopped)


def status(sweep: AnySweep, store: AnyStore = "tombola-store", *, keep_code: bool = False) -> Ran:
    """How a sweep stands, from the store alone; nothing is run.

    Raises:
        TombolaError: if there is no such store, or the sweep cannot be read.
    """
    place = existing_store(store)
    asked = ask(sweep, place, keep_code=keep_code)
    return Ran(asked.sweep, sweeps.standing(asked.trials, place), 0, None)
