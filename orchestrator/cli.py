"""The command `tombola`."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from orchestrator import sweeps
from orchestrator.estimate import Estimate, estimate
from orchestrator.executor import InProcess
from orchestrator.explain import explain as explain_trial
from orchestrator.explain import find_trial, short
from orchestrator.plan import Plan, make_plan, take_inventory
from orchestrator.progress import SweepProgress, duration, label
from orchestrator.results import ResultsError, rows_of
from orchestrator.results import mask as read_mask
from orchestrator.tables import facts_table, trials_table
from search_spaces import load_sweep
from search_spaces.errors import TombolaError
from search_spaces.sweep import Sweep
from workers.presence import running
from workers.store import Store, open_store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console()
wide = Console(width=max(out.width, 160))
"""For tables, which are of no use when their columns are cut; a narrow terminal wraps their lines."""

SweepFile = Annotated[Path, typer.Argument(help="A sweep, in YAML.", show_default=False)]
StoreURI = Annotated[str, typer.Option("--store", metavar="URI", help="Where everything is kept: a folder.")]
TrialID = Annotated[str, typer.Argument(help="Id of a trial: 16 hex digits.", show_default=False)]
DEFAULT_STORE = "tombola-store"


@app.command()
def plan(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say what a sweep would train, share, keep and cost, without training."""
    sweep = load_sweep(sweep_file)
    place = open_store(store)
    figures = estimate(make_plan(sweep.trials()), place, InProcess())
    if as_json:
        print(json.dumps(figures.as_json(), indent=2))
    else:
        wide.print(facts_table(_plan_facts(sweep, figures)))


@app.command()
def run(sweep_file: SweepFile, store: StoreURI = DEFAULT_STORE) -> None:
    """Run what is missing of a sweep; failed trials stay failed."""
    _run(load_sweep(sweep_file), open_store(store), sweep_file, retry=False)


@app.command()
def resume(sweep_file: SweepFile, store: StoreURI = DEFAULT_STORE) -> None:
    """Run what is missing of a sweep, failed trials too; diverged ones stay diverged."""
    _run(load_sweep(sweep_file), open_store(store), sweep_file, retry=True)


@app.command()
def status(sweep_file: SweepFile, store: StoreURI = DEFAULT_STORE) -> None:
    """Say how each trial of a sweep stands, from the store alone."""
    sweep, place = load_sweep(sweep_file), open_store(store)
    trials = sweep.trials()
    stands = sweeps.standing(trials, place)
    out.print(_summary(sweep, stands), highlight=False)
    by_id = stands.rows.set_index("trial_id")
    alive = running(place)
    table = Table("trial_id", "status", "trial", "error", box=None, header_style="bold")
    for trial in trials:
        if trial.id in by_id.index:
            state, error = by_id.loc[trial.id, "status"], by_id.loc[trial.id, "error"]
        else:
            state, error = "running" if trial.id in alive else "missing", ""
        table.add_row(trial.id, str(state), label(trial), str(error))
    wide.print(table)


@app.command()
def results(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="A condition on columns, such as 'sparsity > 0.5'.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
) -> None:
    """Print the trials table of a sweep."""
    rows = rows_of(open_store(store), load_sweep(sweep_file).trials())
    if where is not None:
        rows = _chosen(rows, where)
    if csv:
        print(rows.to_csv(index=False), end="")
    else:
        wide.print(trials_table(rows))


@app.command()
def explain(trial_id: TrialID, store: StoreURI = DEFAULT_STORE) -> None:
    """Show the stages that a trial's search is made of, and which trials share them."""
    explanation = explain_trial(trial_id, open_store(store))
    out.print(f"{trial_id}  {label(explanation.trial)}", highlight=False)
    table = Table("stage", "does", "in store", "epochs", "seconds", "shared by", box=None, header_style="bold")
    for step in explanation.steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        sharers = f"{len(step.shared_by)} trials" if step.shared_by else "none"
        table.add_row(
            short(step.key), step.does, "yes" if step.held else "no", str(step.epochs or ""), seconds, sharers
        )
    wide.print(table)
    everyone = dict.fromkeys(other for step in explanation.steps for other in step.shared_by)
    for other in everyone:
        shared = [short(step.key) for step in explanation.steps if other in step.shared_by]
        out.print(f"{other}  {explanation.labels[other]}: shares {len(shared)}, up to {shared[-1]}", highlight=False)


@app.command()
def export(
    trial_id: TrialID,
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.", show_default=False)],
    store: StoreURI = DEFAULT_STORE,
) -> None:
    """Write a trial's ticket, start weights and mask, to a file for plain PyTorch."""
    place = open_store(store)
    trial, _ = find_trial(trial_id, place)
    rows = rows_of(place, [trial])
    if rows.empty or rows["status"].iloc[0] != "done":
        raise ResultsError(
            f"trial {trial_id} has no ticket yet: it is {'missing' if rows.empty else rows['status'].iloc[0]}"
        )
    # Imported here because only this command touches weights.
    from workers.archive import Archive
    from workers.export import export_ticket

    ticket_mask = read_mask(place.uri, trial_id)
    export_ticket(Archive(place), trial, rows["start_key"].iloc[0], ticket_mask, file)
    out.print(f"{file}: {label(trial)}, {ticket_mask.kept:,} of {ticket_mask.size:,} weights", highlight=False)


def main() -> None:
    """Entry point: a mistake of the user's ends in one sentence and exit code 2."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    try:
        app()
    except TombolaError as error:
        print(f"tombola: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _run(sweep: Sweep, store: Store, sweep_file: Path, *, retry: bool) -> None:
    began = time.monotonic()
    planned = make_plan(sweep.trials())
    sweeps.record(sweep, store)
    before = sweeps.standing(sweep.trials(), store)
    if retry:
        cleared = sweeps.clear_errors(sweep.trials(), list(planned.stages.values()), store)
        before_text = _summary(sweep, before)
        before = sweeps.standing(sweep.trials(), store)
        left = take_inventory(planned, store).missing
        out.print(f"found: {before_text}; {cleared} failed trials are tried again, {left} epochs left", highlight=False)
    interrupted = False
    if before.missing:
        interrupted = _run_missing(planned, before, store)
    after = sweeps.standing(sweep.trials(), store)
    wide.print(trials_table(after.rows))
    out.print(_summary(sweep, after), f"in {time.monotonic() - began:.0f} s", highlight=False)
    out.print(_pandas_hint(store), highlight=False, soft_wrap=True)
    if interrupted:
        out.print(f"Stopped; `tombola resume {sweep_file}` goes on from here.", highlight=False, soft_wrap=True)
        raise typer.Exit(130)
    if after.failed:
        last = after.rows["error"][after.rows["status"] == "failed"].iloc[0]
        out.print(
            f"{after.failed} trials failed, the first with: {last}\n`tombola status {sweep_file}` shows each; "
            f"when the cause is mended, `tombola resume {sweep_file}` tries them again.",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(1)


def _run_missing(planned: Plan, before: sweeps.Standing, store: Store) -> bool:
    """Run the trials that have no rows yet; True if it was interrupted."""
    executor = InProcess()
    missing = {trial.id: trial for trial in before.missing}
    ordered = [p.trial for p in planned.trials if p.trial.id in missing]
    inventory = take_inventory(planned, store)
    profiles = executor.profiles(ordered, store)
    seconds = {
        trial.trial.id: profiles[trial.trial.id].epoch_seconds if trial.trial.id in profiles else 0.0
        for trial in planned.trials
    }
    sweeps.clear_rows(ordered, store)
    with (
        _stop_on_interrupt() as stop,
        SweepProgress(out, missing, inventory.missing_epochs, planned.line_seconds(seconds)) as progress,
    ):
        executor.run(ordered, planned.points, store, progress.listen, stop)
        return stop()


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the trial to leave after its epoch, the second leaves at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        out.print("Finishing the epoch; once more leaves at once.", highlight=False)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _plan_facts(sweep: Sweep, figures: Estimate) -> dict[str, str]:
    stages = ", ".join(f"{count} {verb}" for verb, count in figures.stages.items())
    return {
        "sweep": sweep.name,
        "trials": f"{figures.trials:,}",
        "distinct stages": f"{sum(figures.stages.values()):,} ({stages})",
        "epochs, every trial alone": f"{figures.epochs_alone:,}",
        "epochs, one chain logging its levels": f"{figures.epochs_chained:,}",
        "epochs, shared": f"{figures.epochs:,}",
        "held by the store": f"{figures.stages_held:,} stages; {figures.epochs_missing:,} epochs are missing",
        "critical path": f"{figures.critical_path_epochs:,} epochs, {_here(figures.critical_path_hours)}",
        "estimated time": f"{_here(figures.hours)} for what is missing, one trial at a time",
        "kept in the store": f"{figures.bytes_kept / 1e6:,.1f} MB of states and masks",
    }


def _here(hours: float) -> str:
    return f"{hours:.2f} hours here ({duration(3600 * hours)})"


def _summary(sweep: Sweep, stands: sweeps.Standing) -> str:
    idle = len(stands.missing) - stands.running
    return (
        f"{sweep.name}: {stands.done} done, {stands.running} running, {stands.failed} failed, "
        f"{stands.diverged} diverged, {idle} missing"
    )


def _pandas_hint(store: Store) -> str:
    return f'In Python: from orchestrator import results; results.trials("{store.uri}")'


def _chosen(rows: pd.DataFrame, where: str) -> pd.DataFrame:
    try:
        return rows.query(where)
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, pd.errors.UndefinedVariableError) as error:
        raise ResultsError(
            f"--where {where!r}: {error}; it takes a condition on columns, like 'sparsity > 0.5'"
        ) from error
