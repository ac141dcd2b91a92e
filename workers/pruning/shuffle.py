"""Shuffling: masks that keep as much elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from workers.masks.mask import Mask


def shuffle_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """The same number of kept weights in every tensor, at places drawn uniformly."""
    return Mask(
        {
            name: kept.flatten()[torch.randperm(kept.numel(), generator=generator)].reshape(kept.shape)
            for name, kept in mask.items()
        }
    )


def shuffle_filters(mask: Mask, generator: torch.Generator, axes: Mapping[str, int]) -> Mask:
    """The same filters in every layer, each with the pattern that it has, at places drawn uniformly.

    `axes` gives the axis of a layer's outputs: 1 for transposed convolutions, 0 for all others.
    """
    return Mask(
        {
            name: kept.index_select(axes[name], torch.randperm(kept.shape[axes[name]], generator=generator))
            for name, kept in mask.items()
        }
    )


def random_global(mask: Mask, generator: torch.Generator) -> Mask:
    """The same number of kept weights in all, at places drawn uniformly over all tensors together."""
    drawn = torch.randperm(mask.size, generator=generator) < mask.kept
    parts = drawn.split([kept.numel() for kept in mask.values()])
    return Mask({name: part.reshape(kept.shape) for (name, kept), part in zip(mask.items(), parts, strict=True)})


def erk(mask: Mask, generator: torch.Generator) -> Mask:
    """The same number of kept weights in all, with the layer densities of an Erdős–Rényi-Kernel graph.

    A layer's density is proportional to sum(shape) / prod(shape) (Evci et al. 2020, section 3), or 1 where it would be
    above; within a layer the places are drawn uniformly.
    """
    counts = _erk_counts({name: kept.shape for name, kept in mask.items()}, mask.kept)
    return Mask(
        {
            name: (torch.randperm(kept.numel(), generator=generator) < counts[name]).reshape(kept.shape)
            for name, kept in mask.items()
        }
    )


def _erk_counts(shapes: Mapping[str, torch.Size], total: int) -> dict[str, int]:
    """How many of `total` weights each layer keeps, rounded by largest remainders; ties go to earlier layers."""
    full: dict[str, int] = {}
    while True:
        left = total - sum(full.values())
        # density * prod(shape) is proportional to sum(shape), so a layer's share is left * sum(shape) / scale
        free = {name: sum(shape) for name, shape in shapes.items() if name not in full}
        scale = sum(free.values())
        above = {n: shapes[n].numel() for n in free if left * free[n] > scale * shapes[n].numel()}
        if not above:
            break
        full |= above
    counts = full | {name: left * size // scale for name, size in free.items()}
    by_remainder = sorted(free, key=lambda name: left * free[name] % scale, reverse=True)
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
