"""Spectral norm (Miyato et al. 2018) for kernels that a mask can set to zero completely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.utils.parametrizations import _SpectralNorm

if TYPE_CHECKING:
    from torch import Tensor, nn


class SpectralNorm(_SpectralNorm):
    """The spectral norm of PyTorch, bit for bit, except that a kernel of zeros stays zero and does not become NaN."""

    def forward(self, weight: Tensor) -> Tensor:
        """The kernel divided by u^T W v. In training mode, `_u` and `_v` follow its first singular vectors."""
        if weight.ndim == 1:
            return super().forward(weight)
        matrix = self._reshape_weight_to_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # copies, because a second forward pass changes the vectors before the backward pass of the first
        u, v = self._u.clone(), self._v.clone()
        norm = torch.vdot(u, torch.mv(matrix, v))
        return weight / (norm + ~weight.any())


def spare_empty_kernels(network: nn.Module) -> None:
    """Make every spectral norm of a network leave kernels of zeros unchanged."""
    for module in network.modules():
        if type(module) is _SpectralNorm:
            module.__class__ = SpectralNorm
