"""Faults: how often a trial that lost its worker is tried again, and how a trial is given up."""

from __future__ import annotations

from search_spaces.trial import Trial
from workers.archive.failures import ERROR, Failure, Failures, StageFailed, subject
from workers.lab.stages import Stage
from workers.reports import TrialEnded
from workers.rows.schema import write_unsuccessful
from workers.store.backends import Store
from workers.store.objects import Objects

DEATHS = 3
"""How many worker processes a trial may lose at one stage and still be tried again."""

DISPLACEMENTS = 20
"""How many machines a trial may lose at one stage and still be tried again.

The limit is high, because a machine that is taken away is not the trial's fault.
"""

OUT_OF_MEMORY = (
    "ran out of memory, and again with its machine to itself ({error}); it needs a machine with more memory, a larger "
    "share of its GPU (resources.gpus), or a smaller model or batch"
)


def give_up(trial: Trial, stage: Stage, why: str, store: Store) -> TrialEnded:
    """Record that `stage` cannot be done, and write the row of the trial that failed there."""
    failure = Failure(subject(stage), type(stage).__name__.lower(), ERROR, why)
    Failures(Objects(store)).record(failure)
    error = str(StageFailed(failure))
    write_unsuccessful(store, trial, "failed", error, "")
    return TrialEnded(trial.id, "failed", error, failure)
