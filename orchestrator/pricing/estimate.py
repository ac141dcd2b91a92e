"""Estimates of what a plan costs here: the figures that `tombola plan` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import Plan, kept_bytes, verbs
from orchestrator.pricing.expected import expect
from orchestrator.pricing.price import TFLOPS, gpu_hours, price
from workers import data
from workers.profiles.profile import Profile
from workers.store.backends import Store


@dataclass(frozen=True)
class Estimate:
    """Epochs and stages of a plan, which of them a store holds, and what the rest costs here.

    If only the data can say when a mask emerges, all figures are upper bounds, except `least_epochs`.

    `hours` is the time for everything that is missing, one trial at a time. `measuring_hours` is the part of it that is
    spent on measuring. `critical_path_hours` is the time of the longest chain of the whole plan, which more workers
    cannot shorten. These three are None if this machine lacks the GPU to measure them on.

    `flops` are the FLOPs of all training. `gpu_hours` is the time that a GPU with `tflops` TFLOP/s takes for them.
    Fields that end in `_alone` hold if every trial trains by itself.

    The data sets in `data_missing` are not here; the store is assumed to hold nothing made from them. No mask can prune
    the parameters in `not_prunable`.
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
    critical_path_hours: float | None
    hours: float | None
    measuring_hours: float | None
    bytes_kept: int
    flops_alone: float
    flops: float
    tflops: float
    gpu_hours_alone: float
    gpu_hours: float
    data_missing: tuple[str, ...]
    not_prunable: tuple[str, ...]


def estimate(plan: Plan, store: Store, profiles: Mapping[str, Profile], tflops: float = TFLOPS) -> Estimate:
    """Estimate a plan from the profiles of `plan.models`, by trial id, and for a GPU with `tflops` TFLOP/s."""
    inventory = take_inventory(plan, store)
    expected = expect(plan.trials, profiles)
    measured = not any(map(math.isnan, expected.epochs.values()))
    unfinished = [each.trial.id for each in plan.trials if not inventory.held.issuperset(each.stages)]
    remaining = expected.remaining(inventory, unfinished)
    sizes = {trial: (p.full_bytes, p.weights_bytes, p.prunable) for trial, p in profiles.items()}
    flops = price(plan, profiles)
    datasets = {trial.dataset for trial in plan.models}
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
        critical_path_hours=plan.critical_path(expected.epochs, expected.stages) / 3600 if measured else None,
        hours=remaining.seconds / 3600 if measured else None,
        measuring_hours=remaining.measuring / 3600 if measured else None,
        bytes_kept=kept_bytes(plan, sizes),
        flops_alone=flops.alone,
        flops=flops.shared,
        tflops=tflops,
        gpu_hours_alone=gpu_hours(flops.alone, tflops),
        gpu_hours=gpu_hours(flops.shared, tflops),
        data_missing=tuple(sorted({dataset.name for dataset in datasets if data.card_or_nominal(dataset).nominal})),
        not_prunable=_not_prunable(plan, profiles),
    )


def _not_prunable(plan: Plan, profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    """The kernels that no mask can prune, each after the title of its model."""
    names = {(trial.model.title, name) for trial in plan.models for name in profiles[trial.id].not_prunable}
    return tuple(f"{title}: {name}" for title, name in sorted(names))
