"""tombola from Python: a sweep is loaded, planned, run and read by a handful of functions.

    from orchestrator import api

    sweep = api.load("search_spaces/quickstart.yaml")
    api.plan(sweep, store="runs")
    done = api.run(sweep, store="runs")
    done.trials.groupby(["variant", "sparsity"])["reconstruction_mse"].mean()

Where a sweep is taken it may be a `Sweep`, the same as a dict, or a path to its YAML file. Where a store is taken it
may be a `Store`, a folder or a URI. What cannot be done raises a `TombolaError`, a `ValueError` whose message is the
sentence that the command line prints. `results` and `analysis` are the modules of that name.
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
    """What a sweep comes to: `estimate` has the figures, and `told` what was settled, in sentences."""

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
    """How a sweep stands after a run.

    `trials` has a row for each trial that has ended, as `results.trials` has them; `epochs` is how many this run
    trained, and `stopped` why it ended before all trials did, if so.
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
    """A sweep, checked down to its trials, with its plugins imported.

    Raises:
        SweepError: if there is no such file, or it asks for something unknown or impossible.
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
    """What a sweep would train, share, keep and cost, as `tombola plan` says it: nothing is trained.

    Arguments:
        sweep: the sweep.
        store: where it would be kept; what is held there costs nothing.
        download: fetch data sets and weights that the sweep names and that are missing.
        keep_code: changes of plugins make no difference to what the store holds.
        tflops: TFLOP/s that a GPU is assumed to do, for its hours.

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
    """Run what is missing of a sweep, with a progress bar, in a terminal or a notebook.

    Ctrl-C asks the running trials to leave after their epoch; a second one leaves at once. That holds in the main
    thread only, where Python lets signals be handled.

    Arguments:
        sweep: the sweep.
        store: where all is kept.
        listen: is called with every report of a trial: epochs, stages and ends.
        again: which trials that failed or diverged are tried again; left out, none.
        address: a Ray cluster to join, `auto` or `HOST:PORT`; left out, Ray starts here.
        local: one trial after the other in this process, without Ray.
        workers: at most so many trials at once.
        max_hours: stop after so long; run again, it goes on.
        max_gpu_hours: stop once the trials have used so much of GPUs.
        download: fetch data sets and weights that the sweep names and that are missing.
        keep_code: changes of plugins make no difference to what the store holds.

    Raises:
        TombolaError: if the sweep cannot be run, or the store or the cluster cannot be used.
    """
    place = open_store(store)
    asked = ask(sweep, place, download, keep_code=keep_code)
    session = Session(asked, place, Where(address, local, workers), Limits(max_hours, max_gpu_hours), listen)
    ended = session.run(again)
    return Ran(asked.sweep, ended.standing, ended.ran.epochs, ended.ran.stopped)


def status(sweep: AnySweep, store: AnyStore = "tombola-store", *, keep_code: bool = False) -> Ran:
    """How a sweep stands, from the store alone.

    Raises:
        TombolaError: if there is no such store, or the sweep cannot be read.
    """
    place = existing_store(store)
    asked = ask(sweep, place, keep_code=keep_code)
    return Ran(asked.sweep, sweeps.standing(asked.trials, place), 0, None)
