"""Tables for the terminal."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

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


def facts_table(facts: dict[str, str]) -> Table:
    """Names and values in two columns."""
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _shown(value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
