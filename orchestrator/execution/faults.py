"""Faults: what is made of workers and trials that are lost, and when a trial is given up."""

from __future__ import annotations

from search_spaces.trial import Trial
from workers.archive.failures import ERROR, Failure, Failures, StageFailed, subject
from workers.lab.stages import Stage
from workers.reports import TrialEnded
from workers.rows.schema import write_unsuccessful
from workers.store.backends import Store
from workers.store.objects import Objects

DEATHS = 3
"""Worker processes that a trial may lose at one stage and be tried again."""

DISPLACEMENTS = 20
"""Machines that may vanish under a trial at one stage: those that can be taken away do, through no fault of its own."""

OUT_OF_MEMORY = (
    "ran out of memory, and again with its machine to itself ({error}); it needs a machine with more memory, a larger "
    "share of its GPU (resources.gpus), or a smaller model or batch"
)


def give_up(trial: Trial, stage: Stage, why: str, store: Store) -> TrialEnded:
    """Record that `stage` cannot be done, and write the row of the trial that was at it."""
    failure = Failure(subject(stage), type(stage).__name__.lower(), ERROR, why)
    Failures(Objects(store)).record(failure)
    error = str(StageFailed(failure))
    write_unsuccessful(store, trial, "failed", error, "")
    return TrialEnded(trial.id, "failed", error, failure)
