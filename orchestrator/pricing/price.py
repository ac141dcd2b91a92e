"""The price of a plan: the floating-point operations of its training, on whatever machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.planning.plan import Plan
from workers.profiles.profile import Profile

TFLOPS = 2.4
"""TFLOP/s assumed of a GPU: what Kalibhat et al. (2021) have, who train a DCGAN in 1.12e16 FLOPs and 4,590.5 s."""


@dataclass(frozen=True, slots=True)
class Price:
    """FLOPs of training: of every trial `alone`, and `shared`, when no epoch is trained twice.

    All networks are priced as if they were dense. That is what masks of weights cost; networks without some of their
    channels cost less, and where data decides how long is trained, it is the longest: so it is an upper bound.
    """

    alone: float
    shared: float


def price(plan: Plan, profiles: Mapping[str, Profile]) -> Price:
    """What training costs by `plan` in an empty store; measuring what was trained is not counted.

    `profiles` has those of `plan.models` by trial id.
    """
    flops = {line: profiles[maker.id].epoch_flops for line, maker in plan.makers.items()}
    return Price(
        sum(end.epochs * flops[line] for planned in plan.trials for line, end in planned.ends.items()),
        sum(end.epochs * flops[line] for line, end in plan.ends.items()),
    )


def gpu_hours(flops: float, tflops: float) -> float:
    """Hours that FLOPs take of a GPU that does so many TFLOP/s."""
    return flops / (tflops * 1e12) / 3600
