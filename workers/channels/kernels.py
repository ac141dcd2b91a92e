"""Kernels: the tensors that make channels of others, plain or under spectral norm."""

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
    """The kernel of a layer: its tensor, and the axes along which that holds what is made and what is read.

    `makes` and `reads` are so many features, each read one with `places` weights for every one that is made. `along`
    are other tensors with an entry for each that is made, `vector` one with `places` for each that is read, if any.
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
        """The kernel of a layer; None if it has none that is understood, as one in groups or computed by a hook."""
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
    """Whether a layer has spectral norm, by rows of what is made."""
    if not has_spectral_norm(layer):
        return False
    norm = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(norm, _SpectralNorm)
    return norm.dim == _made_along(layer)


def _made_along(layer: nn.Module) -> int:
    """The axis of a layer's kernel that holds what is made."""
    return int(isinstance(layer, nn.ConvTranspose2d))
