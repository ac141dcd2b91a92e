"""Shuffling: masks that keep as much elsewhere."""

from __future__ import annotations

import torch

from workers.pruning.mask import Mask


def shuffle_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """The same number of kept weights in every tensor, at places drawn uniformly."""
    return Mask(
        {
            name: kept.flatten()[torch.randperm(kept.numel(), generator=generator)].reshape(kept.shape)
            for name, kept in mask.items()
        }
    )
