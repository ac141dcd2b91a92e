"""Fully connected networks, with one hidden layer in the encoder and one in the decoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from workers.models.backbones.backbone import Norm
from workers.models.backbones.stage import stage


@dataclass(frozen=True)
class MLPBackbone:
    """A hidden layer of `width` units between the flattened image and the code."""

    image: tuple[int, int, int]
    width: int

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """A network from images (N, C, H, W) to codes (N, outputs). `norm_head` adds a batch norm to the code."""
        stages = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        stages["down1"] = stage(nn.Linear(math.prod(self.image), self.width), nn.ReLU(inplace=True), norm=norm)
        stages[head] = stage(
            nn.Linear(self.width, outputs), *([nn.BatchNorm1d(outputs)] if norm_head else []), norm=norm
        )
        return nn.Sequential(stages)

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """A network from codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
        stages = OrderedDict[str, nn.Module]()
        stages[head] = stage(nn.Linear(inputs, self.width), nn.ReLU(inplace=True))
        stages["up1"] = stage(nn.Linear(self.width, math.prod(self.image)), nn.Tanh())
        stages["unflatten"] = nn.Unflatten(1, self.image)
        return nn.Sequential(stages)
