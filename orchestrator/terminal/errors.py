"""Errors of trials, as a person who is to mend them reads them."""

from __future__ import annotations

import pandas as pd

from orchestrator.planning.explain import find_trial
from orchestrator.results import ResultsError, rows_of_id
from workers.store.backends import Store


def error_of(trial_id: str, store: Store) -> str:
    """Why a trial has no result: what it is, the stage that failed, the line of code, and the traceback.

    Raises:
        ResultsError: if it has not failed.
    """
    rows = rows_of_id(store, trial_id)
    failed = rows[rows["status"].isin(["failed", "diverged", "no_ticket"])]
    if failed.empty:
        if rows.empty:
            find_trial(trial_id, store)
        standing = "missing" if rows.empty else "done"
        raise ResultsError(f"trial {trial_id} has no error: it is {standing}")
    row = failed.sort_values("finished").iloc[-1]
    trace = str(row["traceback"]).rstrip()
    method = row["method"] if pd.isna(row["of"]) else f"{row['method']}({row['of']})"
    what = f"{row['model']} {row['dataset']} {method} {row['sparsity']:.4g}"
    return "\n".join(
        [
            f"{trial_id}  {what} seed {row['seed_init']}/{row['seed_order']}",
            f"{row['status']}: {row['error']}",
            *([f"at {place}"] if (place := _place(trace)) else []),
            "",
            trace or "It has no traceback: nothing was raised in Python.",
        ]
    )


def _place(trace: str) -> str:
    """The file, line and function where an error was raised, by the last frame of its traceback."""
    frames = [line.strip() for line in trace.splitlines() if line.startswith('  File "')]
    return frames[-1] if frames else ""
