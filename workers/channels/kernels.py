"""Kernels: the tensors that compute channels from other channels, plain or under spectral norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

from workers.channels.groups import Slice
from workers.models.layers.kernels import ORIGINAL, has_spectral_norm

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel of a layer, with its sizes and the tensors that belong to it.

    `tensor` is the name of the trained tensor. The kernel makes `makes` output features, along axis `axis`, and reads
    `reads` input features, along axis 1 - `axis`. Each pair of an input and an output feature has `places` weights.
    `along` are other tensors with an entry for each output feature. `vector` is the tensor with `places` entries for
    each input feature, if the layer has spectral norm. `flat` says whether the layer is linear.
    """

    tensor: str
    axis: int
    makes: int
    reads: int
    places: int
    along: tuple[Slice, ...]
    vector: str | None
    flat: bool

    @classmethod
    def of(cls, name: str, layer: nn.Module) -> Self | None:
        """The kernel of a layer, or None if the layer has no supported kernel.

        Grouped convolutions, and kernels that a hook computes, are not supported.
        """
        normed = _is_normed(layer)
        kind = type(layer).__bases__[0] if normed else type(layer)
        if kind not in _LAYERS or getattr(layer, "groups", 1) != 1:
            return None
        own = ORIGINAL if normed else "weight"
        parameters = dict(layer.named_parameters())
        if own not in parameters:
            return None
        shape, axis = parameters[own].shape, _made_along(layer)
        along = [f"{name}.bias"] if "bias" in parameters else []
        along += [f"{name}.parametrizations.weight.0._u"] if normed else []
        return cls(
            f"{name}.{own}",
            axis,
            shape[axis],
            shape[1 - axis],
            math.prod(shape[2:]),
            tuple(Slice(tensor, 0, 1) for tensor in along),
            f"{name}.parametrizations.weight.0._v" if normed else None,
            kind is nn.Linear,
        )


def _is_normed(layer: nn.Module) -> bool:
    """Whether a layer has spectral norm with its output features as the rows of the matrix."""
    if not has_spectral_norm(layer):
        return False
    norm = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(norm, _SpectralNorm)
    return norm.dim == _made_along(layer)


def _made_along(layer: nn.Module) -> int:
    """The axis of the output features in a layer's kernel."""
    return int(isinstance(layer, nn.ConvTranspose2d))
