"""Shuffle masks: keep as many weights in other positions."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from workers.masks.mask import Mask


def shuffle_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """Keep the same number of weights in every tensor, at positions drawn uniformly."""
    return Mask(
        {
            name: kept.flatten()[torch.randperm(kept.numel(), generator=generator)].reshape(kept.shape)
            for name, kept in mask.items()
        }
    )


def shuffle_filters(mask: Mask, generator: torch.Generator, axes: Mapping[str, int]) -> Mask:
    """Permute the filters of every layer uniformly. Each filter keeps its own pattern.

    `axes` gives the output axis of each layer: 1 for transposed convolutions, 0 for all others.
    """
    return Mask(
        {
            name: kept.index_select(axes[name], torch.randperm(kept.shape[axes[name]], generator=generator))
            for name, kept in mask.items()
        }
    )


def random_global(mask: Mask, generator: torch.Generator) -> Mask:
    """Keep the same total number of weights, at positions drawn uniformly over all tensors together."""
    drawn = torch.randperm(mask.size, generator=generator) < mask.kept
    parts = drawn.split([kept.numel() for kept in mask.values()])
    return Mask({name: part.reshape(kept.shape) for (name, kept), part in zip(mask.items(), parts, strict=True)})


def erk(mask: Mask, generator: torch.Generator) -> Mask:
    """Keep the same total number of weights, with the layer densities of an Erdős–Rényi-Kernel graph.

    A layer's density is proportional to sum(shape) / prod(shape), and at most 1 (Evci et al. 2020, section 3). Within a
    layer, positions are drawn uniformly.
    """
    counts = _erk_counts({name: kept.shape for name, kept in mask.items()}, mask.kept)
    return Mask(
        {
            name: (torch.randperm(kept.numel(), generator=generator) < counts[name]).reshape(kept.shape)
            for name, kept in mask.items()
        }
    )


def _erk_counts(shapes: Mapping[str, torch.Size], total: int) -> dict[str, int]:
    """The number of weights that each layer keeps, out of `total`.

    Counts are rounded by largest remainders. Ties go to earlier layers.
    """
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
