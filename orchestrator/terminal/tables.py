"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from orchestrator.pricing.estimate import Estimate
from orchestrator.terminal.progress import duration
from workers.measures.metrics import METRICS

_METRICS = sorted((name for name in METRICS if METRICS[name].shown), key=lambda name: METRICS[name].best is None)
"""The metrics that a terminal shows; those that tell which trial is better come first. `--csv` has all columns."""
_FOLDED = ("variant", "seed", "measured")


def trials_table(rows: pd.DataFrame, width: int) -> Table:
    """Table of trials in at most `width` characters: what each is, how it ended, and how good it is.

    If the metrics of all models do not fit, each trial shows only its own first metric.
    """
    cells = {name: [_shown(value) for value in rows[name]] for name in ("trial_id", "variant", "sparsity")}
    cells["seed"] = [seeds(*pair) for pair in zip(rows["seed_init"], rows["seed_order"], strict=True)]
    cells["status"] = list(rows["status"])
    measured = {name: [_shown(value) for value in rows[name]] for name in _METRICS if rows[name].notna().any()}
    if measured and sum(_least(name, values) for name, values in (cells | measured).items()) > width:
        own = (
            [f"{name.replace('_', ' ')} {value}" for name, value in zip(measured, each, strict=True) if value]
            for each in zip(*measured.values(), strict=True)
        )
        measured = {"measured": [next(iter(each), "") for each in own]}
    table = Table(box=None, header_style="bold")
    for name in (cells := cells | measured):
        table.add_column(_header(name), overflow="fold", no_wrap=name not in _FOLDED)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _least(name: str, cells: Sequence[str]) -> int:
    """Smallest width of a column, with the gap beside it."""
    return max(map(len, (*_header(name).split("\n"), *(() if name in _FOLDED else cells)))) + 2


def _header(name: str) -> str:
    return name.replace("_", "\n") if name in _METRICS else name


def seeds(init: int, order: int) -> str:
    """Two seeds as text; one number if they are equal."""
    return str(init) if init == order else f"{init}/{order}"


def plan_table(sweep: str, measured: Sequence[str], figures: Estimate) -> Table:
    """Table of `plan_facts` in two columns."""
    table = Table(box=None, show_header=False)
    for name, value in plan_facts(sweep, measured, figures).items():
        table.add_row(name, value)
    return table


def plan_facts(sweep: str, measured: Sequence[str], figures: Estimate) -> dict[str, str]:
    """Figures of a plan as text, by their names.

    `sweep` is the name of the sweep. `measured` says in which features its distances are measured.
    """
    stages = ", ".join(f"{count:,} {verb}" for verb, count in figures.stages.items())
    left = {"not prunable": "\n".join(figures.not_prunable)} if figures.not_prunable else {}
    return {
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
        "of which measuring": _here(figures.measuring_hours),
        "operations, every trial alone": _operations(figures.flops_alone, figures.gpu_hours_alone, figures.tflops),
        "operations, shared": _operations(figures.flops, figures.gpu_hours, figures.tflops),
        "kept in the store": f"{figures.bytes_kept / 1e6:,.1f} MB of states and masks",
        **left,
    }


def _span(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}, by when masks emerge"


def _held(figures: Estimate) -> str:
    if figures.data_missing:
        names = ", ".join(figures.data_missing)
        return f"not known, for data is missing here and planned by its nominal size: {names}"
    return f"{figures.stages_held:,} stages; {figures.epochs_missing:,} epochs are missing"


def _operations(flops: float, hours: float, tflops: float) -> str:
    return f"at most {flops:.3g} FLOPs of training, {_hours(hours)} GPU-hours at an assumed {tflops:g} TFLOP/s"


def _here(hours: float | None) -> str:
    if hours is None:
        return "not measured: this machine has no GPU"
    return f"{_hours(hours)} hours here ({duration(3600 * hours)})"


def _hours(hours: float) -> str:
    """Hours with three significant digits, or as a whole number from 100 on."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
