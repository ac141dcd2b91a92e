"""Architectures: networks as JSON, from which plain PyTorch can rebuild them."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from workers.models.backbones.residual import Residual
from workers.models.spectral import SpectralNorm

Node = dict[str, Any]
"""A module: its `kind`, and either its `children`, each a name and a node, or its constructor's `arguments`.

A layer may be marked as `spectral_norm`.
"""

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    *("dilation", "groups", "bias", "padding_mode"),
)
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: _CONVOLUTION,
    nn.ConvTranspose2d: (*_CONVOLUTION, "output_padding"),
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.ReLU: ("inplace",),
    nn.Tanh: (),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Unflatten: ("dim", "unflattened_size"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.Upsample: ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"),
    nn.Identity: (),
}
"""Of each layer those of its constructor's arguments that it has as attributes of the same name."""

_CONTAINERS = (nn.Sequential, Residual)
_SPECTRAL = {"weight": [SpectralNorm]}


class _Unknown(Exception):
    """A module that there are no words for."""


def architecture(networks: nn.ModuleDict) -> dict[str, Node] | None:
    """Every network by its name; None if one has a module of a type that is not known, such as a plugin's."""
    try:
        return {name: _node(network) for name, network in networks.items()}
    except _Unknown:
        return None


def _node(module: nn.Module) -> Node:
    kind = type_before_parametrizations(module)
    if kind in _CONTAINERS:
        return {"kind": kind.__name__, "children": [[name, _node(child)] for name, child in module.named_children()]}
    if kind not in _ARGUMENTS:
        raise _Unknown
    arguments = {name: getattr(module, name) for name in _ARGUMENTS[kind]}
    if "bias" in arguments:
        arguments["bias"] = module.bias is not None
    marked = {"spectral_norm": True} if _is_normalised(module) else {}
    return {"kind": kind.__name__, "arguments": arguments, **marked}


def _is_normalised(layer: nn.Module) -> bool:
    """Whether the kernel of a layer has spectral norm."""
    if not is_parametrized(layer):
        return False
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    if {name: [type(step) for step in steps.children()] for name, steps in layer.parametrizations.items()} != _SPECTRAL:
        raise _Unknown
    return True
