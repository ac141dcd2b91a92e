"""What every backbone can be asked for."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import nn

Norm = Literal["batch", "spectral", "none"]
"""What keeps an encoder's stages in bounds: batch norms, where a backbone has any; or else spectral norm of every
kernel, the head's too; or nothing."""


class Backbone(Protocol):
    """A pair of bodies. `head` names the stage that touches the code, which bodies of one backbone need not share."""

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """Images (N, C, H, W) to codes (N, outputs); `norm_head` puts a batch norm on the code."""

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """Codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
