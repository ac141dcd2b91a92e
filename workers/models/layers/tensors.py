"""Tensors of networks: list them, replace them, and check that they can be trained and stored."""

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
    """A model cannot be built as requested."""


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, including non-persistent buffers. A shared tensor has its first name."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def unregistered(network: nn.Module) -> dict[str, Tensor]:
    """Tensors that modules hold as plain attributes, not as parameters or buffers, by name."""
    return {
        f"{path}.{name}".removeprefix("."): value
        for path, module in network.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def replace_tensors(network: nn.Module, by: Callable[[Tensor], Tensor]) -> None:
    """Replace every tensor of `network` by the result of `by`. A shared tensor stays shared.

    `nn.Module.to` splits a shared parameter into two when it moves to another kind of device.
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


def _check_containers(network: nn.Module) -> None:
    """Raise ModelError for a layer or parameter in a plain list, tuple or dict, where torch does not find it."""
    for path, module in network.named_modules():
        for name, held in vars(module).items():
            if name.startswith("_") or not isinstance(held, list | tuple | set | dict):
                continue  # torch itself keeps parameters in private lists, too
            inner = held.values() if isinstance(held, dict) else held
            if any(isinstance(each, nn.Module | nn.Parameter) for each in inner):
                raise ModelError(
                    f"{f'{path}.{name}'.removeprefix('.')} holds layers or parameters where torch does not find them: "
                    "use nn.ModuleList, nn.ModuleDict or nn.ParameterList"
                )


def check_tensors(network: nn.Module) -> None:
    """Check that all tensors of a constructed network can be trained and stored.

    Raises:
        ModelError: if a tensor cannot. The message names the tensor.
    """
    _check_hooks(network)
    _check_containers(network)
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
    """Refuse a parameter that is a view of the memory of another tensor, because a move separates the two.

    Layers must share a parameter by holding the same object.
    """
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
    """Yield for each tensor its name, the module that holds it, and the name of the attribute in that module."""
    for path, module in network.named_modules():
        for held in (*module._parameters, *module._buffers):
            if getattr(module, held) is not None:
                yield f"{path}.{held}".removeprefix("."), module, held
