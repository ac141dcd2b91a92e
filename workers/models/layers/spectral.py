"""Spectral norm (Miyato et al. 2018) of kernels that masks may empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.utils.parametrizations import _SpectralNorm

if TYPE_CHECKING:
    from torch import Tensor, nn


class SpectralNorm(_SpectralNorm):
    """The same as torch's, bit for bit, except that a kernel of zeros stays zero instead of becoming NaN."""

    def forward(self, weight: Tensor) -> Tensor:
        """The kernel divided by u^T W v, where `_u` and `_v` follow its first singular vectors in training mode."""
        if weight.ndim == 1:
            return super().forward(weight)
        matrix = self._reshape_weight_to_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # copies, since a second forward pass moves the vectors before the backward pass of the first
        u, v = self._u.clone(), self._v.clone()
        norm = torch.vdot(u, torch.mv(matrix, v))
        return weight / (norm + ~weight.any())


def spare_empty_kernels(network: nn.Module) -> None:
    """Make every spectral norm of a network one that leaves kernels of zeros as they are."""
    for module in network.modules():
        if type(module) is _SpectralNorm:
            module.__class__ = SpectralNorm
