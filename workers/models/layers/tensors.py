"""Tensors of networks: checks that they can be trained and stored, and putting others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from search_spaces.errors import TombolaError

_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)


class ModelError(TombolaError):
    """A model that cannot be composed as it is asked for."""


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, with buffers that no state dict has. A shared one has its first name."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def unregistered(network: nn.Module) -> dict[str, Tensor]:
    """Tensors by name that modules hold as plain attributes, neither as parameters nor as buffers."""
    return {
        f"{path}.{name}".removeprefix("."): value
        for path, module in network.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def replace_tensors(network: nn.Module, by: Callable[[Tensor], Tensor]) -> None:
    """Put another tensor in the place of each; what stands in several places is replaced by one.

    `nn.Module.to` and its like make two of a parameter that two layers share, when it goes to another kind of device.
    """
    replaced: dict[Tensor, Tensor] = {}
    for name, module, held in _places(network):
        tensor = getattr(module, held)
        if tensor not in replaced:
            _check_shape(name, tensor)
            with torch.no_grad():
                new = by(tensor)
            replaced[tensor] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        setattr(module, held, replaced[tensor])


def check_tensors(network: nn.Module) -> None:
    """Raise ModelError, naming it, if a tensor of a constructed network could not be trained or stored as it is."""
    _check_hooks(network)
    stored = network.state_dict(keep_vars=True)
    for name, held in stored.items():
        if not isinstance(held, Tensor):
            raise ModelError(f"{name} is a part of the state that is no tensor")
    for name, tensor in unregistered(network).items():
        if tensor.is_meta or tensor.isnan().any():
            raise ModelError(f"{name} has no value: it is in no state dict, and its constructor leaves it empty")
    for name, tensor in tensors_of(network).items():
        _check_shape(name, tensor)
        if tensor.is_meta:
            raise ModelError(f"{name} has no value: it was constructed on the meta device")
        if tensor.dtype == torch.complex128 or tensor.layout != torch.strided:
            raise ModelError(f"{name} cannot be stored: it is {tensor.dtype}, {tensor.layout}")
        if name not in stored and tensor.isnan().any():
            raise ModelError(f"{name} has no value: it is in no state dict, and its constructor leaves it empty")
    _check_memory(network)


def _check_shape(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor):
        raise ModelError(f"{name} has no shape: lazy layers cannot be trained here, so give this one its sizes")


def _check_hooks(network: nn.Module) -> None:
    for name, module in network.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _HOOKS):
                tensor = getattr(hook, "name", getattr(hook, "_tensor_name", "weight"))
                raise ModelError(
                    f"{name}.{tensor} is computed by a hook, {type(hook).__name__}, through which nothing can be "
                    "pruned or stored; use torch.nn.utils.parametrizations"
                )


def _check_memory(network: nn.Module) -> None:
    """Layers share a parameter by having the same one; views of one memory would come apart when they are moved."""
    owners: dict[int, str] = {}
    parameters = dict(network.named_parameters())
    for name, tensor in tensors_of(network).items():
        if tensor.numel():
            owner = owners.setdefault(tensor.untyped_storage().data_ptr(), name)
            if owner != name and not parameters.keys().isdisjoint((owner, name)):
                raise ModelError(
                    f"{name} is another view of the memory of {owner}; let both layers have the same nn.Parameter"
                )


def _places(network: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Where tensors stand: name, and the module that holds it under the last part of that name."""
    for path, module in network.named_modules():
        for held in (*module._parameters, *module._buffers):
            if getattr(module, held) is not None:
                yield f"{path}.{held}".removeprefix("."), module, held
