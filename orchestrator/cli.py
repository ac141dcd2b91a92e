"""Finds lottery tickets in deep generative models, many at a time."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestrator import exit_codes, sweeps
from orchestrator.asked import ask, planned
from orchestrator.cluster.gpus import gpus_here, tell_of_unused
from orchestrator.conditions import matching
from orchestrator.execution.budget import Limits
from orchestrator.execution.executor import InProcess
from orchestrator.labels import label, variants_of
from orchestrator.planning.explain import explain as explain_trial
from orchestrator.planning.explain import find_trial, short
from orchestrator.pricing.estimate import estimate
from orchestrator.pricing.price import TFLOPS
from orchestrator.results import ResultsError, rows_of, rows_of_id
from orchestrator.results import mask as read_mask
from orchestrator.terminal.errors import error_of
from orchestrator.terminal.options import (
    DEFAULT_STORE,
    Address,
    Debug,
    Download,
    KeepCode,
    Local,
    MaxGpuHours,
    MaxHours,
    MostWorkers,
    StoreURI,
    SweepFile,
    TrialID,
    Where,
)
from orchestrator.terminal.output import out, say, show_warnings, wide
from orchestrator.terminal.session import Again, Session, summary
from orchestrator.terminal.tables import plan_table, seeds, trials_table
from search_spaces import load_sweep
from search_spaces.errors import TombolaError
from search_spaces.schema import json_schema
from search_spaces.trial import stored_trial
from workers import __version__, data
from workers.measures.metrics import METRICS
from workers.store.backends import existing_store, open_store
from workers.store.presence import running

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def main() -> None:
    """Entry point: an error that the user can fix ends with one sentence and exit code 2."""
    show_warnings()
    try:
        app()
    except TombolaError as error:
        print(f"tombola: {error}", file=sys.stderr)
        raise SystemExit(exit_codes.REFUSED) from error


def _say_version(asked: bool) -> None:
    if asked:
        say(f"tombola {__version__}")
        raise typer.Exit


@app.callback()
def tombola(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    # Holds the options of all commands; its help text is that of `app`.
    pass


@app.command()
def plan(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    tflops: Annotated[
        float, typer.Option(min=0.001, metavar="TFLOP/S", help="What a GPU is assumed to do, for its hours.")
    ] = TFLOPS,
    download: Download = False,
    keep_code: KeepCode = False,
) -> None:
    """Print what a sweep would train, share, keep and cost, without training; data sets of known size may be absent."""
    place = open_store(store)
    asked = ask(sweep_file, place, download, planning=True, keep_code=keep_code)
    tell_of_unused(asked.trials, gpus_here())
    whole = planned(asked, data.card_or_nominal)
    figures = estimate(whole, place, InProcess().profiles_or_sizes(whole.models, place), tflops)
    if as_json:
        print(json.dumps(asdict(figures), indent=2))
    else:
        wide.print(plan_table(asked.sweep.name, asked.choices.told, figures))
        for changed in asked.codes.told:
            say(changed)


@app.command()
def run(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    workers: MostWorkers = None,
    debug: Debug = False,
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    download: Download = False,
    keep_code: KeepCode = False,
) -> None:
    """Run the missing trials of a sweep; failed trials stay failed."""
    where = Where(address, local, workers, debug)
    session = _session(sweep_file, store, where, Limits(max_hours, max_gpu_hours), download, keep_code)
    raise typer.Exit(session.tell(session.run(), store))


@app.command()
def resume(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    workers: MostWorkers = None,
    debug: Debug = False,
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    download: Download = False,
    keep_code: KeepCode = False,
    diverged: Annotated[bool, typer.Option("--diverged", help="Try those that diverged again, too.")] = False,
    trial: Annotated[
        list[str] | None,
        typer.Option("--trial", metavar="ID", help="Only this trial, and what it needs; may be given several times."),
    ] = None,
) -> None:
    """Run the missing and the failed trials of a sweep; diverged trials stay diverged without `--diverged`."""
    where = Where(address, local, workers, debug)
    session = _session(sweep_file, store, where, Limits(max_hours, max_gpu_hours), download, keep_code)
    again = Again(diverged, tuple(trial or ()))
    raise typer.Exit(session.tell(session.run(again), store, again))


def _session(sweep_file: Path, store: str, where: Where, limits: Limits, download: bool, keep_code: bool) -> Session:
    place = open_store(store)
    asked = ask(sweep_file, place, download, keep_code=keep_code)
    if where.address is None:
        tell_of_unused(asked.trials, gpus_here())
    return Session(asked, place, where, limits)


@app.command()
def submit(
    sweep_file: SweepFile,
    address: Annotated[str, typer.Option(metavar="URL", help="Dashboard of a Ray cluster: http://HOST:8265.")],
    store: Annotated[str, typer.Option(metavar="URI", help="Where everything is kept: a folder that it all sees.")],
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    keep_code: KeepCode = False,
) -> None:
    """Run or resume a sweep on a Ray cluster that this machine is not part of."""
    # Imported here because it loads Ray, which nothing else needs.
    from orchestrator.jobs.submit import submit as submit_job

    limits = Limits(max_hours, max_gpu_hours)
    raise typer.Exit(submit_job(sweep_file, store, address, limits, keep_code=keep_code))


@app.command()
def status(sweep_file: SweepFile, store: StoreURI = DEFAULT_STORE, keep_code: KeepCode = False) -> None:
    """Show the status of every trial of a sweep, from the store alone."""
    place = existing_store(store)
    asked = ask(sweep_file, place, keep_code=keep_code)
    stands = sweeps.standing(asked.trials, place)
    ended = stands.rows.set_index("trial_id")
    alive = running(place)
    labels = variants_of(asked.trials)
    table = Table("trial_id", "status", "variant", "sparsity", "seed", "error", box=None, header_style="bold")
    for trial in asked.trials:
        if trial.id in ended.index:
            state, error = str(ended.loc[trial.id, "status"]), str(ended.loc[trial.id, "error"])
        else:
            state, error = "running" if trial.id in alive else "missing", ""
        seed = seeds(trial.seed.init, trial.seed.order)
        table.add_row(trial.id, state, labels[trial.id], f"{trial.sparsity:.4g}", seed, error)
    wide.print(table)
    for changed in asked.codes.told:
        say(changed)
    say(summary(asked.sweep, stands))


@app.command()
def results(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="A condition on columns, such as 'sparsity > 0.5'.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    keep_code: KeepCode = False,
) -> None:
    """Print the trials of a sweep: what each is, how it ended and how good it is; `--csv` prints all columns."""
    place = existing_store(store)
    asked = ask(sweep_file, place, keep_code=keep_code)
    rows = rows_of(place, asked.trials)
    if where is not None:
        rows = matching(rows, where, "--where")
    if csv:
        print(rows.to_csv(index=False), end="")
    else:
        out.print(trials_table(rows, out.width))
    for changed in asked.codes.told:
        print(changed, file=sys.stderr)


@app.command()
def explain(trial_id: TrialID, store: StoreURI = DEFAULT_STORE) -> None:
    """Show the stages of a trial, and which other trials share them."""
    explanation = explain_trial(trial_id, existing_store(store))
    say(f"{trial_id}  {label(explanation.trial)}")
    table = Table("stage", "does", "in store", "epochs", "seconds", "shared by", box=None, header_style="bold")
    for step in explanation.steps:
        held, epochs = "yes" if step.held else "no", str(step.epochs or "")
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        table.add_row(short(step.key), step.does, held, epochs, seconds, f"{len(step.shared_by)} trials")
    wide.print(table)
    for other in dict.fromkeys(other for step in explanation.steps for other in step.shared_by):
        shared = [short(step.key) for step in explanation.steps if other in step.shared_by]
        say(f"{other}  {explanation.labels[other]} shares {', '.join(shared)}")


@app.command()
def error(trial_id: TrialID, store: StoreURI = DEFAULT_STORE) -> None:
    """Show why a trial has no result: the stage, the line of code and the whole traceback."""
    say(error_of(trial_id, existing_store(store)))


@app.command()
def export(
    trial_id: TrialID,
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.", show_default=False)],
    store: StoreURI = DEFAULT_STORE,
    trained: Annotated[bool, typer.Option("--trained", help="Write the weights it was trained to.")] = False,
) -> None:
    """Write a trial's ticket, weights and mask, to a file for plain PyTorch."""
    place = existing_store(store)
    rows = rows_of_id(place, trial_id)
    done = rows[rows["status"] == "done"]
    if done.empty:
        find_trial(trial_id, place)
        standing = "missing" if rows.empty else str(rows["status"].iloc[0])
        raise ResultsError(f"trial {trial_id} has no ticket to export: it is {standing}")
    # Imported here because it loads torch, which few commands need.
    from workers.tickets.export import export_ticket

    row = done.sort_values("finished").iloc[-1]
    trial, mask = stored_trial(trial_id, row["spec"]), read_mask(place.uri, trial_id)
    if trained:
        metrics = {str(name): float(value) for name, value in row[list(METRICS)].dropna().items()}
        export_ticket(place, trial, row["final_key"], mask, file, metrics)
    else:
        export_ticket(place, trial, row["start_key"], mask, file)
    say(f"{file}: {label(trial)}, {mask.kept:,} of {mask.size:,} weights kept")


@app.command()
def schema(
    sweep_file: Annotated[
        Path | None, typer.Argument(help="A sweep whose plugins are described, too.", show_default=False)
    ] = None,
) -> None:
    """Print the JSON schema of sweep files, with which editors complete and check them."""
    if sweep_file is not None:
        load_sweep(sweep_file)
    print(json.dumps(json_schema(), indent=2))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A ticket, as `tombola export` writes it.", show_default=False)],
    store: StoreURI = DEFAULT_STORE,
) -> None:
    """Import a ticket from a file into a store, so that sweeps can transfer it to other models."""
    # Imported here because it loads torch, which few commands need.
    from workers.tickets.importing import import_ticket

    name = import_ticket(open_store(store), file)
    say(f'imported {file} as {name}; name it in a sweep as source: {{ticket: "{name}"}}')
