"""Placing: networks without weights, and on the device where they are used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.models.families import Family
from workers.models.layers.tensors import replace_tensors


def without_weights(network: nn.Module) -> None:
    """Put the parameters of a network on the meta device; its buffers stay, for some are in no state that is stored."""
    replace_tensors(network, lambda tensor: tensor.to("meta") if isinstance(tensor, nn.Parameter) else tensor.clone())


def materialise(family: Family, device: torch.device) -> None:
    """Give a model from `build` uninitialised weights on `device`, laid out channels_last, and its buffers."""
    replace_tensors(family.networks, lambda tensor: _placed(tensor, device))


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    placed = torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device, copy=True)
    return placed.to(memory_format=torch.channels_last) if placed.dim() == 4 else placed
