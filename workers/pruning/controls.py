"""Redraw masks: keep as many weights in other positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from workers.channels.kept import expand, groups_within, kept_channels
from workers.masks import Mask
from workers.models import Family
from workers.pruning import erk, random_global, shuffle_filters, shuffle_layers


def redraw(family: Family, mask: Mask, how: str, noise: torch.Generator) -> Mask:
    """Draw the mask with which the control `how` replaces `mask`."""
    return _REDRAWN[how](family, mask, noise)


def _shuffle_filters(family: Family, mask: Mask, noise: torch.Generator) -> Mask:
    layers = family.kernels()
    axes = {name: int(isinstance(layers[name], nn.ConvTranspose2d)) for name in mask}
    return shuffle_filters(mask, noise, axes)


def _random_channels(family: Family, mask: Mask, noise: torch.Generator) -> Mask:
    groups = groups_within(family.networks, mask)
    kept = {
        name: channels[torch.randperm(len(channels), generator=noise)]
        for name, channels in kept_channels(groups, mask).items()
    }
    parameters = {name: weight for name, weight in family.prunable().items() if name in mask}
    return expand(groups, kept, parameters)


_REDRAWN: dict[str, Callable[[Family, Mask, torch.Generator], Mask]] = {
    "shuffle_layer": lambda family, mask, noise: shuffle_layers(mask, noise),
    "shuffle_filter": _shuffle_filters,
    "random_global": lambda family, mask, noise: random_global(mask, noise),
    "erk": lambda family, mask, noise: erk(mask, noise),
    "random_channels": _random_channels,
}
