"""Costs: what a training step of a network takes, whole, under a mask, and where it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from search_spaces.models import ModelSpec
from workers.channels.compaction import Compaction
from workers.costs.flops import sparse_flops, step_flops
from workers.masks import Mask
from workers.models import Family, Image, build


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a network under a mask: FLOPs of a training step as it is executed, and as its weights alone would cost.

    It is executed without the channels that the mask leaves out. `parameters` are those that are left, biases and
    norms too.
    """

    step: float
    sparse_step: float
    parameters: int


def cost(spec: ModelSpec, image: Image, batch: int, mask: Mask | None = None) -> Cost:
    """The cost of a model for images (channels, height, width) under a mask; without one that of all of it."""
    family, by_kernel = _whole(spec, image, batch)
    if mask is None:
        return Cost(sum(by_kernel.values()), sum(by_kernel.values()), _parameters(family))
    compaction = Compaction(family, mask)
    if compaction.smaller:
        family = compaction.family()
        by_kernel = step_flops(family, image, batch)
    left = compaction.mask
    densities = {name: count / left[name].numel() for name, count in left.counts.items()}
    parameters = _parameters(family) - (left.size - left.kept) - compaction.placeholders
    return Cost(sum(by_kernel.values()), sparse_flops(by_kernel, densities), parameters)


def narrowed(spec: ModelSpec, image: Image, batch: int, mask: Mask, equal: str) -> ModelSpec:
    """The model of the width that brings it nearest to the parameters, or the FLOPs of a step, that a mask leaves."""

    def size(of: Cost) -> float:
        return of.parameters if equal == "parameters" else of.sparse_step

    def of_width(width: int) -> ModelSpec:
        return spec.model_copy(update={"width": width})

    goal = size(cost(spec, image, batch, mask))
    return of_width(_nearest(lambda width: size(cost(of_width(width), image, batch)), goal, spec.width))


@lru_cache(maxsize=256)
def _whole(spec: ModelSpec, image: Image, batch: int) -> tuple[Family, Mapping[str, float]]:
    """A model without weights, and the FLOPs of a step of it by kernel."""
    family = build(spec, image)
    return family, step_flops(family, image, batch)


def _parameters(family: Family) -> int:
    return sum(p.numel() for p in family.parameters())


def _nearest(size: Callable[[int], float], goal: float, most: int) -> int:
    """The number from 1 to `most` whose size, which grows with it, is nearest to a goal."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= goal else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - goal))
