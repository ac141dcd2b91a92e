"""Kernels: the weights of convolutions and linear layers, on which masks can act."""

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
"""Where a layer has its kernel that is normalised on the way, as by spectral norm."""


def kernel_of(layer: nn.Module) -> nn.Parameter | None:
    """The kernel of a layer, plain or under spectral norm.

    None if there is no kernel, or if another parametrisation computes it. Only under spectral norm is a zero in the
    trained tensor known to stay zero in the used one.
    """
    if not isinstance(layer, KERNEL_LAYERS):
        return None
    if has_spectral_norm(layer):
        return layer.get_parameter(ORIGINAL)
    return layer._parameters.get("weight")


def has_spectral_norm(layer: nn.Module) -> bool:
    """Whether spectral norm is all that is done to a layer's weight, and nothing is done to its other tensors."""
    if not is_parametrized(layer, "weight"):
        return False
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    done = [each for steps in layer.parametrizations.children() for each in steps.children()]
    return len(done) == 1 and isinstance(done[0], _SpectralNorm)
