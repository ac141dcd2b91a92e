"""The price of a plan: the floating-point operations of its training, on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.planning.plan import Plan
from workers.profiles.profile import Profile

TFLOPS = 2.4
"""Assumed TFLOP/s of a GPU: Kalibhat et al. (2021) train a DCGAN with 1.12e16 FLOPs in 4,590.5 s."""


@dataclass(frozen=True, slots=True)
class Price:
    """FLOPs of training: `alone` if every trial trains by itself, `shared` if no epoch is trained twice.

    All networks are priced as dense, because masks of weights save nothing. The price is an upper bound for two
    reasons: networks with removed channels cost less, and where data decides how long is trained, the longest time
    counts.
    """

    alone: float
    shared: float


def price(plan: Plan, profiles: Mapping[str, Profile]) -> Price:
    """FLOPs of all training in `plan`, starting from an empty store. Measuring is not counted.

    `profiles` has the profiles of `plan.models`, by trial id.
    """
    flops = {line: profiles[maker.id].epoch_flops for line, maker in plan.makers.items()}
    return Price(
        sum(end.epochs * flops[line] for planned in plan.trials for line, end in planned.ends.items()),
        sum(end.epochs * flops[line] for line, end in plan.ends.items()),
    )


def gpu_hours(flops: float, tflops: float) -> float:
    """Hours that a GPU with `tflops` TFLOP/s takes for `flops`."""
    return flops / (tflops * 1e12) / 3600
