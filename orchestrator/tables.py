"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.table import Table

from orchestrator.estimate import Estimate
from orchestrator.progress import duration

SHOWN = (
    "trial_id",
    "model",
    "method",
    "of",
    "sparsity",
    "seed_init",
    "status",
    "reconstruction_mse",
    "elbo",
    "fid",
    "frechet_distance",
    "discriminator_loss",
    "best_epoch",
    "search_epochs",
    "ticket_epochs",
)
"""The columns of the trials table that fit a terminal; `--csv` has all."""


def trials_table(rows: pd.DataFrame) -> Table:
    """The trials table with the columns that hold anything, one line for each trial."""
    several = [name for name in ("dataset", "seed_order") if _tells_apart(rows, name)]
    columns = [name for name in (*SHOWN, *several) if rows[name].notna().any()]
    table = Table(*columns, box=None, header_style="bold")
    for row in rows[columns].itertuples(index=False):
        table.add_row(*(_shown(value) for value in row))
    return table


def _tells_apart(rows: pd.DataFrame, name: str) -> bool:
    return rows["dataset"].nunique() > 1 if name == "dataset" else bool((rows["seed_order"] != rows["seed_init"]).any())


def plan_table(sweep: str, measured: Sequence[str], figures: Estimate) -> Table:
    """What a plan of the sweep of that name comes to; `measured` says in what its distances are."""
    stages = ", ".join(f"{count:,} {verb}" for verb, count in figures.stages.items())
    return _facts_table(
        {
            "sweep": sweep,
            "measured": "\n".join(measured) or "no distances",
            "trials": f"{figures.trials:,}",
            "distinct stages": f"{sum(figures.stages.values()):,} ({stages})",
            "epochs, every trial alone": f"{figures.epochs_alone:,}",
            "epochs, one chain logging its levels": f"{figures.epochs_chained:,}",
            "epochs, shared": _span(figures.least_epochs, figures.epochs),
            "held by the store": _held(figures),
            "critical path": f"{figures.critical_path_epochs:,} epochs, {_here(figures.critical_path_hours)}",
            "what is missing, one trial at a time": _here(figures.hours),
            "operations, every trial alone": _operations(figures.flops_alone, figures.gpu_hours_alone, figures.tflops),
            "operations, shared": _operations(figures.flops, figures.gpu_hours, figures.tflops),
            "kept in the store": f"{figures.bytes_kept / 1e6:,.1f} MB of states and masks",
        }
    )


def _facts_table(facts: Mapping[str, str]) -> Table:
    """Names and values in two columns."""
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _span(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}, by when masks emerge"


def _held(figures: Estimate) -> str:
    if figures.data_missing:
        names = ", ".join(figures.data_missing)
        return f"not known, for data is missing here and planned by its nominal size: {names}"
    return f"{figures.stages_held:,} stages; {figures.epochs_missing:,} epochs are missing"


def _operations(flops: float, hours: float, tflops: float) -> str:
    return f"at most {flops:.3g} FLOPs of training, {hours:,.2f} GPU-hours at an assumed {tflops:g} TFLOP/s"


def _here(hours: float | None) -> str:
    if hours is None:
        return "not measured: this machine has no GPU"
    return f"{hours:.2f} hours here ({duration(3600 * hours)})"


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
