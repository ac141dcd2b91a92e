"""Remove the weights of networks, and place networks on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.models.families import Family
from workers.models.layers.tensors import replace_tensors


def without_weights(network: nn.Module) -> None:
    """Move the parameters of a network to the meta device.

    Buffers keep their values, because no stored state contains the non-persistent ones.
    """
    replace_tensors(network, lambda tensor: tensor.to("meta") if isinstance(tensor, nn.Parameter) else tensor.clone())


def materialise(family: Family, device: torch.device) -> None:
    """Move a model from `build` to `device`, with uninitialised weights and memory format channels_last.

    Buffers keep their values.
    """
    replace_tensors(family.networks, lambda tensor: _placed(tensor, device))


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    placed = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device, copy=True)
    return placed.to(memory_format=torch.channels_last) if placed.dim() == 4 else placed
