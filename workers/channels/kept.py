"""Channels: the hidden channels of a network, and masks that remove them.

A channel mask is an ordinary mask. A removed channel loses all weights that make it, and all weights that read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor, nn

from workers.channels.groups import ChannelGroup, Slice
from workers.channels.walking import groups_of
from workers.masks.mask import Mask


def channel_groups(networks: nn.ModuleDict) -> list[ChannelGroup]:
    """The groups of all component networks, in the order of their layers.

    A component can be a chain of layers, with shortcuts around parts of the chain. It has no groups if it contains any
    other module made of layers, or shares a tensor. The inputs and outputs of a component are never a group.
    """
    tensors: dict[str, Tensor] = networks.state_dict(keep_vars=True)
    uses = Counter(id(tensor) for tensor in tensors.values())
    groups: list[ChannelGroup] = []
    for name, network in networks.items():
        if all(uses[id(tensor)] == 1 for tensor in network.state_dict(keep_vars=True).values()):
            groups += groups_of(name, network)
    return groups


def groups_within(networks: nn.ModuleDict, kernels: Container[str]) -> list[ChannelGroup]:
    """The groups for which `kernels` contains the name of every kernel that makes or reads their channels."""
    groups = channel_groups(networks)
    return [g for g in groups if all(part.tensor in kernels for part in (*g.outputs, *g.inputs))]


def expand(groups: Iterable[ChannelGroup], kept: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Mask:
    """Make a mask of `parameters` that removes channels.

    `kept` has a bool vector for each group, by its name. Channels with False are removed.
    """
    weights = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}
    for group in groups:
        assert kept[group.name].shape == (group.size,), f"{group.name} has {group.size} channels"
        for part in (*group.outputs, *group.inputs):
            removed = part.features(~kept[group.name].cpu()).nonzero().flatten()
            weights[part.tensor].index_fill_(part.axis, removed, False)
    return Mask(weights)


def kept_channels(groups: Iterable[ChannelGroup], mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A bool vector for each group, by its name. False means that the mask keeps no weight of the channel.

    Weights of a channel are those that make or read it. Tensors that the mask does not contain count as kept. This is
    the inverse of `expand`, with one exception: between two groups that lost all channels, no channel is left.
    """
    return {
        group.name: torch.stack([_used(group, part, mask) for part in (*group.outputs, *group.inputs)]).any(0)
        for group in groups
    }


def _used(group: ChannelGroup, part: Slice, mask: Mapping[str, Tensor]) -> Tensor:
    """For each channel, whether a kernel keeps any of its weights."""
    if part.tensor not in mask:
        return torch.ones(group.size, dtype=torch.bool)
    return mask[part.tensor].movedim(part.axis, 0).reshape(group.size, -1).any(1)


__all__ = ["ChannelGroup", "Slice", "channel_groups", "expand", "groups_within", "kept_channels"]
