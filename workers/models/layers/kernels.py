"""Kernels: the weights of convolutions and linear layers, which masks can cover."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import is_parametrized

KERNEL_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)

ORIGINAL = "parametrizations.weight.original"
"""The name of the trained kernel in a layer with a parametrisation such as spectral norm."""


def kernel_of(layer: nn.Module) -> nn.Parameter | None:
    """The kernel of a layer, plain or under spectral norm.

    None if the layer has no kernel, or if another parametrisation computes its weight. Only for spectral norm is it
    certain that a zero in the trained tensor stays zero in the weight that the layer uses.
    """
    if not isinstance(layer, KERNEL_LAYERS):
        return None
    if has_spectral_norm(layer):
        return layer.get_parameter(ORIGINAL)
    return layer._parameters.get("weight")


def has_spectral_norm(layer: nn.Module) -> bool:
    """Whether spectral norm of the weight is the only parametrisation of a layer."""
    if not is_parametrized(layer, "weight"):
        return False
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    done = [each for steps in layer.parametrizations.children() for each in steps.children()]
    return len(done) == 1 and isinstance(done[0], _SpectralNorm)
