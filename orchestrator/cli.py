"""Finds lottery tickets in deep generative models, many at a time."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestrator import exit_codes, sweeps
from orchestrator.access import keep_private
from orchestrator.asked import Asked, ask, planned
from orchestrator.budget import Limits
from orchestrator.conditions import matching
from orchestrator.estimate import estimate
from orchestrator.executor import Executor, InProcess
from orchestrator.explain import explain as explain_trial
from orchestrator.explain import find_trial, short
from orchestrator.inventory import take_inventory
from orchestrator.plan import Plan
from orchestrator.price import TFLOPS
from orchestrator.progress import duration, label
from orchestrator.results import ResultsError, rows_of, rows_of_id
from orchestrator.results import mask as read_mask
from orchestrator.running import INTERRUPTED, Ran, run_missing
from orchestrator.sources import remember
from orchestrator.tables import plan_table, trials_table
from orchestrator.terminal import say, show_warnings, wide
from search_spaces import SweepError
from search_spaces.errors import TombolaError
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers import data
from workers.metrics import METRICS
from workers.presence import running
from workers.store import Store, open_store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

SweepFile = Annotated[Path, typer.Argument(help="A sweep, in YAML.", show_default=False)]
StoreURI = Annotated[str, typer.Option("--store", metavar="URI", help="Where everything is kept: a folder.")]
TrialID = Annotated[str, typer.Argument(help="Id of a trial: 16 hex digits.", show_default=False)]
Address = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Ray cluster to join: auto, or HOST:PORT. Left out, Ray starts here."),
]
Local = Annotated[bool, typer.Option("--local", help="One trial after the other in this process, without Ray.")]
MaxHours = Annotated[float | None, typer.Option(min=0, metavar="HOURS", help="Stop after so long, to be resumed.")]
MaxGpuHours = Annotated[
    float | None, typer.Option(min=0, metavar="HOURS", help="Stop once the trials have used so much of GPUs.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch data sets and weights that the sweep names and that are missing.")
]
DEFAULT_STORE = "tombola-store"


def main() -> None:
    """Entry point: what a user can mend ends in one sentence and exit code 2."""
    show_warnings()
    try:
        app()
    except TombolaError as error:
        print(f"tombola: {error}", file=sys.stderr)
        raise SystemExit(exit_codes.REFUSED) from error


@app.command()
def plan(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    tflops: Annotated[
        float, typer.Option(min=0.001, metavar="TFLOP/S", help="What a GPU is assumed to do, for its hours.")
    ] = TFLOPS,
    download: Download = False,
) -> None:
    """Say what a sweep would train, share, keep and cost, without training, and without data of known sizes."""
    place = open_store(store)
    asked = ask(sweep_file, place, download, planning=True)
    figures = estimate(planned(asked, data.card_or_nominal), place, InProcess(), tflops)
    if as_json:
        print(json.dumps(asdict(figures), indent=2))
    else:
        wide.print(plan_table(asked.sweep.name, asked.choices.told, figures))


@app.command()
def run(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    download: Download = False,
) -> None:
    """Run what is missing of a sweep; failed trials stay failed."""
    place = open_store(store)
    _run(ask(sweep_file, place, download), place, Where(address, local), Limits(max_hours, max_gpu_hours))


@app.command()
def resume(
    sweep_file: SweepFile,
    store: StoreURI = DEFAULT_STORE,
    address: Address = None,
    local: Local = False,
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
    download: Download = False,
) -> None:
    """Run what is missing of a sweep, failed trials too; diverged ones stay diverged."""
    place = open_store(store)
    asked = ask(sweep_file, place, download)
    _run(asked, place, Where(address, local), Limits(max_hours, max_gpu_hours), retry=True)


@app.command()
def submit(
    sweep_file: SweepFile,
    address: Annotated[str, typer.Option(metavar="URL", help="Dashboard of a Ray cluster: http://HOST:8265.")],
    store: Annotated[str, typer.Option(metavar="URI", help="Where everything is kept: a folder that it all sees.")],
    max_hours: MaxHours = None,
    max_gpu_hours: MaxGpuHours = None,
) -> None:
    """Run or resume a sweep on a Ray cluster that this machine is no part of."""
    # Imported here because it loads Ray, which nothing else needs.
    from orchestrator.submit import submit as submit_job

    raise typer.Exit(submit_job(sweep_file, store, address, Limits(max_hours, max_gpu_hours)))


@app.command()
def status(sweep_file: SweepFile, store: StoreURI = DEFAULT_STORE) -> None:
    """Say how each trial of a sweep stands, from the store alone."""
    place = open_store(store)
    asked = ask(sweep_file, place)
    stands = sweeps.standing(asked.trials, place)
    ended = stands.rows.set_index("trial_id")
    alive = running(place)
    table = Table("trial_id", "status", "trial", "error", box=None, header_style="bold")
    for trial in asked.trials:
        if trial.id in ended.index:
            state, error = str(ended.loc[trial.id, "status"]), str(ended.loc[trial.id, "error"])
        else:
            state, error = "running" if trial.id in alive else "missing", ""
        table.add_row(trial.id, state, label(trial), error)
    wide.print(table)
    say(_summary(asked.sweep, stands))


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
    place = open_store(store)
    rows = rows_of(place, ask(sweep_file, place).trials)
    if where is not None:
        rows = matching(rows, where, "--where")
    if csv:
        print(rows.to_csv(index=False), end="")
    else:
        wide.print(trials_table(rows))


@app.command()
def explain(trial_id: TrialID, store: StoreURI = DEFAULT_STORE) -> None:
    """Show the stages that a trial's search is made of, and which trials share them."""
    explanation = explain_trial(trial_id, open_store(store))
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
def export(
    trial_id: TrialID,
    file: Annotated[Path, typer.Argument(help="The safetensors file to write.", show_default=False)],
    store: StoreURI = DEFAULT_STORE,
    trained: Annotated[bool, typer.Option("--trained", help="Write the weights it was trained to.")] = False,
) -> None:
    """Write a trial's ticket, weights and mask, to a file for plain PyTorch."""
    place = open_store(store)
    rows = rows_of_id(place, trial_id)
    done = rows[rows["status"] == "done"]
    if done.empty:
        find_trial(trial_id, place)
        standing = "missing" if rows.empty else str(rows["status"].iloc[0])
        raise ResultsError(f"trial {trial_id} has no ticket to export: it is {standing}")
    # Imported here because it loads torch, which few commands need.
    from workers.export import export_ticket

    row = done.sort_values("finished").iloc[-1]
    trial, mask = Trial.model_validate_json(row["spec"]), read_mask(place.uri, trial_id)
    if trained:
        metrics = {str(name): float(value) for name, value in row[list(METRICS)].dropna().items()}
        export_ticket(place, trial, row["final_key"], mask, file, metrics)
    else:
        export_ticket(place, trial, row["start_key"], mask, file)
    say(f"{file}: {label(trial)}, {mask.kept:,} of {mask.size:,} weights kept")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A ticket, as `tombola export` writes it.", show_default=False)],
    store: StoreURI = DEFAULT_STORE,
) -> None:
    """Bring a ticket from a file into a store, as a source of tickets that move to other models."""
    # Imported here because it loads torch, which few commands need.
    from workers.importing import import_ticket

    name = import_ticket(open_store(store), file)
    say(f'imported {file} as {name}; name it in a sweep as source: {{ticket: "{name}"}}')


@dataclass(frozen=True, slots=True)
class Where:
    """Where trials are to run."""

    address: str | None
    local: bool

    def executor(self) -> AbstractContextManager[Executor]:
        """Raises TombolaError if there is no such place."""
        if self.local and self.address is not None:
            raise SweepError("--local and --address: give one or the other")
        if self.local:
            return nullcontext(InProcess())
        if self.address is None:
            keep_private()
        # Imported here because it loads Ray, which nothing else needs.
        from orchestrator.on_ray import OnRay

        return OnRay(self.address)


def _run(asked: Asked, store: Store, where: Where, limits: Limits, *, retry: bool = False) -> None:
    began = time.monotonic()
    sweep, plan = asked.sweep, planned(asked)
    stands = sweeps.standing(asked.trials, store)
    if retry:
        retried = sweeps.clear_errors(asked.trials, list(plan.stages.values()), store)
        left = take_inventory(plan, store).missing
        say(f"found {_summary(sweep, stands)}; {retried} failed trials are tried again, {left} epochs are left")
        stands = sweeps.standing(asked.trials, store) if retried else stands
    place = where.executor()
    ran = Ran(0, 0.0, None)
    if stands.missing:
        for settled in asked.choices.told:
            say(settled)
        asked.choices.record()
        remember(asked.says, store)
        with place as executor:
            ran = run_missing(plan, sweep, stands, store, executor, limits)
        stands = sweeps.standing(asked.trials, store)
    wide.print(trials_table(stands.rows))
    say(f"{_summary(sweep, stands)}, in {duration(time.monotonic() - began)}")
    say(_shared(plan, ran))
    say(f'In Python: from orchestrator import results; results.trials("{store.uri}")')
    if ran.stopped:
        say(f"Stopped: {ran.stopped}; `tombola resume {asked.file}` goes on from here.")
        raise typer.Exit(exit_codes.INTERRUPTED if ran.stopped == INTERRUPTED else exit_codes.SPENT)
    if stands.failed:
        first = stands.rows["error"][stands.rows["status"] == "failed"].iloc[0]
        say(f"{stands.failed} trials failed, the first with: {first}")
        say(f"`tombola status {asked.file}` shows each; once mended, `tombola resume {asked.file}` tries them again.")
        raise typer.Exit(exit_codes.FAILED)


def _shared(plan: Plan, ran: Ran) -> str:
    alone, shared = plan.epochs_alone, plan.epochs
    helped = ran.epochs > 0 and ran.seconds_saved > 0
    saved = f", which saves about {duration(ran.seconds_saved)} of training" if helped else ""
    return (
        f"sharing: {shared:,} epochs, of which this run trained {ran.epochs:,}, stand for the {alone:,} of trials "
        f"that train alone ({plan.epochs_chained:,} as one chain a search){saved}"
    )


def _summary(sweep: Sweep, stands: sweeps.Standing) -> str:
    idle = len(stands.missing) - stands.running
    no_ticket = f"{stands.no_ticket} without a ticket, " if stands.no_ticket else ""
    return (
        f"{sweep.name}: {stands.done} done, {stands.running} running, {stands.failed} failed, "
        f"{stands.diverged} diverged, {no_ticket}{idle} missing"
    )
