"""The interface of every backbone."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import nn

Norm = Literal["batch", "spectral", "none"]
"""The normalisation of an encoder: `batch` uses batch norms, if the backbone has any; `spectral` uses spectral norm on
every kernel, including the head; `none` uses nothing."""


class Backbone(Protocol):
    """A pair of bodies. `head` names the stage next to the code. Bodies of one backbone can have different heads."""

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """A network from images (N, C, H, W) to codes (N, outputs). `norm_head` adds a batch norm to the code."""

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """A network from codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
