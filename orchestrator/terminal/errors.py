"""Errors of trials, shown to the person who is to fix them."""

from __future__ import annotations

import pandas as pd

from orchestrator.planning.explain import find_trial
from orchestrator.results import ResultsError, rows_of_id
from workers.store.backends import Store


def error_of(trial_id: str, store: Store) -> str:
    """Why a trial has no result: the trial, the failed stage, the line of code, and the traceback.

    Raises:
        ResultsError: if the trial has not failed, or the store does not know it.
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
    """File, line and function that raised an error, from the last frame of its traceback."""
    frames = [line.strip() for line in trace.splitlines() if line.startswith('  File "')]
    return frames[-1] if frames else ""
