"""Snapshots: the complete state of a network in training, as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.models import Family

MOMENTS = "moments."
"""Prefix of the optimizer state: `moments.<parameter>.<quantity>`. All other tensors are weights and buffers."""

Snapshot = Mapping[str, Tensor]
Optimizers = Mapping[str, torch.optim.Optimizer]


def capture(family: Family, optimizers: Optimizers) -> dict[str, Tensor]:
    """Copy weights, buffers and moments to the CPU. The copies share no memory with the network."""
    tensors = {name: tensor.detach() for name, tensor in family.networks.state_dict().items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in family.networks.named_parameters()}
    for optimizer in optimizers.values():
        for parameter, moments in optimizer.state.items():
            for quantity, tensor in moments.items():
                tensors[f"{MOMENTS}{names[parameter]}.{quantity}"] = tensor
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def restore(snapshot: Snapshot, family: Family, optimizers: Optimizers) -> None:
    """Load `snapshot` into a network and its optimizers, which must not have taken a step yet.

    Moments get the strides of their parameter. If weights are channels_last and moments are contiguous, the fused
    update is silently wrong.
    """
    family.networks.load_state_dict(weights_only(snapshot))
    parameters = dict(family.networks.named_parameters())
    owner = {p: optimizer for optimizer in optimizers.values() for g in optimizer.param_groups for p in g["params"]}
    for name, tensor in snapshot.items():
        if name.startswith(MOMENTS):
            parameter_name, quantity = name.removeprefix(MOMENTS).rsplit(".", 1)
            parameter = parameters[parameter_name]
            like = (
                torch.empty_like(parameter)
                if tensor.shape == parameter.shape
                else torch.empty_like(tensor, device=parameter.device)
            )
            owner[parameter].state[parameter][quantity] = like.detach().copy_(tensor)


def tensor_of(name: str) -> str:
    """The name of the weight or buffer for an entry of a snapshot. A moment belongs to its parameter."""
    return name.removeprefix(MOMENTS).rsplit(".", 1)[0] if name.startswith(MOMENTS) else name


def weights_only(snapshot: Snapshot) -> dict[str, Tensor]:
    """The snapshot without moments."""
    return {name: tensor for name, tensor in snapshot.items() if not name.startswith(MOMENTS)}


def moments_only(snapshot: Snapshot) -> dict[str, Tensor]:
    """The moments in the snapshot."""
    return {name: tensor for name, tensor in snapshot.items() if name.startswith(MOMENTS)}
