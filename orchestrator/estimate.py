"""What a plan costs here: the figures that `tombola plan` prints."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.executor import Executor
from orchestrator.inventory import take_inventory
from orchestrator.plan import Plan, kept_bytes, verbs
from workers.store import Store


@dataclass(frozen=True)
class Estimate:
    """Epochs and stages of a plan, what of it a store holds, and what the rest takes here.

    Where it depends on data when a mask emerges, all figures are the most there can be but `least_epochs`.
    `hours` are those of the missing epochs one after the other, `critical_path_hours` those of the longest chain of
    the whole plan, which no number of workers can shorten.
    """

    trials: int
    stages: dict[str, int]
    stages_held: int
    epochs_alone: int
    epochs_chained: int
    epochs: int
    least_epochs: int
    epochs_missing: int
    critical_path_epochs: int
    critical_path_hours: float
    hours: float
    bytes_kept: int


def estimate(plan: Plan, store: Store, executor: Executor) -> Estimate:
    """Price a plan with the profiles that `executor` measures."""
    inventory = take_inventory(plan, store)
    profiles = executor.profiles([planned.trial for planned in plan.trials], store)
    line_seconds = plan.line_seconds({trial: profile.epoch_seconds for trial, profile in profiles.items()})
    sizes = {trial: (p.full_bytes, p.weights_bytes, p.prunable) for trial, p in profiles.items()}
    return Estimate(
        trials=len(plan.trials),
        stages=verbs(plan),
        stages_held=len(inventory.held),
        epochs_alone=plan.epochs_alone,
        epochs_chained=plan.epochs_chained,
        epochs=plan.epochs,
        least_epochs=plan.least_epochs,
        epochs_missing=inventory.missing,
        critical_path_epochs=round(plan.critical_path()),
        critical_path_hours=plan.critical_path(line_seconds) / 3600,
        hours=sum(epochs * line_seconds[line] for line, epochs in inventory.missing_epochs.items()) / 3600,
        bytes_kept=kept_bytes(plan, sizes),
    )
