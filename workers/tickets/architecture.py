"""Architectures: descriptions of networks as JSON, from which plain PyTorch can rebuild them."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from search_spaces.errors import first_line
from workers.models.backbones.residual import Residual
from workers.models.layers.spectral import SpectralNorm, spare_empty_kernels

Node = dict[str, Any]
"""A module: its `kind`, and either its `children`, as pairs of name and node, or its constructor's `arguments`.

A layer with spectral norm is marked `spectral_norm`.
"""

_CONTAINERS: dict[type[nn.Module], str] = {nn.Sequential: "Sequential", Residual: "Residual"}
_SPECTRAL = {"weight": [SpectralNorm]}


class UndescribedError(ValueError):
    """A network cannot be described; the message says why."""


def architecture(networks: nn.ModuleDict, inputs: Mapping[str, Tensor]) -> dict[str, Node]:
    """Describe every network, by its name, and check that the rebuilt network computes the same from `inputs`.

    A layer of torch is described by those arguments of its constructor that it has as attributes of the same name. The
    check is needed because a layer may have been changed in ways that these arguments do not show.

    Raises:
        UndescribedError: if a module is no layer of torch.nn, or if the rebuilt network differs.
    """
    described = {name: _node(network, name) for name, network in networks.items()}
    for name, node in described.items():
        _check(name, networks[name], json.loads(json.dumps(node)), inputs[name])
    return described


def _node(module: nn.Module, path: str) -> Node:
    kind = type_before_parametrizations(module)
    if kind in _CONTAINERS:
        # Not `named_children`, which skips a layer that occurs in a body for the second time.
        children = [
            [name, _node(child, f"{path}.{name}")] for name, child in module._modules.items() if child is not None
        ]
        return {"kind": _CONTAINERS[kind], "children": children}
    if getattr(nn, kind.__name__, None) is not kind:
        raise UndescribedError(f"{path} is a {kind.__name__}, which is no layer of torch.nn")
    marked = {"spectral_norm": True} if _is_normalised(module, path) else {}
    return {"kind": kind.__name__, "arguments": _arguments(module, kind), **marked}


def _arguments(layer: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    """The constructor's arguments that a layer has as plain values; for a bias, whether there is one."""
    found: dict[str, Any] = {}
    for name in inspect.signature(kind).parameters:
        value = getattr(layer, name, inspect.Parameter.empty)
        if name == "bias" and (value is None or isinstance(value, Tensor)):
            found[name] = value is not None
        elif _is_plain(value):
            found[name] = value
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _is_normalised(layer: nn.Module, path: str) -> bool:
    """Whether the kernel of a layer has spectral norm."""
    if not is_parametrized(layer):
        return False
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    if {name: [type(step) for step in steps.children()] for name, steps in layer.parametrizations.items()} != _SPECTRAL:
        raise UndescribedError(f"{path} has a parametrisation that is not spectral norm")
    return True


def _check(name: str, network: nn.Module, node: Node, inputs: Tensor) -> None:
    """Raise UndescribedError unless the rebuilt network has the tensors of the network, and computes the same.

    Both compute in float64. The memory layout of tensors may change the order of sums, which is negligible there.
    """
    try:
        rebuilt = _rebuilt(node)
        rebuilt.load_state_dict(network.state_dict())
        with torch.no_grad():
            theirs, ours = (copy.deepcopy(each).double().eval()(inputs.double()) for each in (rebuilt, network))
        same = torch.allclose(theirs, ours, rtol=1e-9, atol=1e-12, equal_nan=True)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise UndescribedError(f"{name} cannot be rebuilt from its layers: {first_line(error)}") from error
    if not same:
        raise UndescribedError(f"{name} computes something else when it is rebuilt from its layers")


def _rebuilt(node: Node) -> nn.Module:
    """The module that a node describes, built as a reader of the ticket builds it."""
    children = [(name, _rebuilt(child)) for name, child in node.get("children", [])]
    if node["kind"] == "Residual":
        return Residual(**dict(children))
    module: nn.Module = getattr(nn, node["kind"])(**node.get("arguments", {}))
    for name, child in children:
        module.add_module(name, child)
    if node.get("spectral_norm"):
        spectral_norm(module)
        spare_empty_kernels(module)
    return module
