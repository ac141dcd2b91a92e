"""Costs: the FLOPs of a training step of a network and its parameters, dense or under a mask."""

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
    """The cost of a network under a mask.

    `step` is the FLOPs of a training step as it is executed: without the channels that the mask removes.
    `sparse_step` is the FLOPs that it would take if only kept weights cost any. `parameters` is the number of
    parameters that are left, biases and norms included.
    """

    step: float
    sparse_step: float
    parameters: int


def cost(spec: ModelSpec, image: Image, batch: int, mask: Mask | None = None) -> Cost:
    """The cost of a model for images (channels, height, width) under a mask; without a mask, of the dense model."""
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
    """The model with the width that brings its size nearest to the size that a mask leaves.

    The size is the number of parameters if `equal` is "parameters", otherwise `Cost.sparse_step`.
    """

    def size(of: Cost) -> float:
        return of.parameters if equal == "parameters" else of.sparse_step

    def of_width(width: int) -> ModelSpec:
        return spec.model_copy(update={"width": width})

    goal = size(cost(spec, image, batch, mask))
    return of_width(_nearest(lambda width: size(cost(of_width(width), image, batch)), goal, spec.width))


@lru_cache(maxsize=256)
def _whole(spec: ModelSpec, image: Image, batch: int) -> tuple[Family, Mapping[str, float]]:
    """A model without weights, and the FLOPs of its training step by kernel."""
    family = build(spec, image)
    return family, step_flops(family, image, batch)


def _parameters(family: Family) -> int:
    return sum(p.numel() for p in family.parameters())


def _nearest(size: Callable[[int], float], goal: float, most: int) -> int:
    """The number from 1 to `most` whose size is nearest to a goal. `size` must grow with the number."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= goal else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - goal))
