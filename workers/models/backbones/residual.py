"""Shortcut connections around layers."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """The sum of the outputs of `body` and `shortcut` for the same input (He et al. 2016)."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        total: Tensor = self.body(inputs) + self.shortcut(inputs)
        return total
