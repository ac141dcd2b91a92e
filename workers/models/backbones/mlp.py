"""One fully connected hidden layer on either side."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class MLPBackbone:
    """A hidden layer of `width` units between the flattened image and the code."""

    image: tuple[int, int, int]
    width: int

    def encoder(self, head: str, outputs: int) -> nn.Sequential:
        """Images (N, C, H, W) to codes (N, outputs)."""
        stages = OrderedDict[str, nn.Module](flatten=nn.Flatten())
        stages["down1"] = _stage(nn.Linear(math.prod(self.image), self.width), nn.ReLU(inplace=True))
        stages[head] = _stage(nn.Linear(self.width, outputs))
        return nn.Sequential(stages)

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """Codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
        stages = OrderedDict[str, nn.Module]()
        stages[head] = _stage(nn.Linear(inputs, self.width), nn.ReLU(inplace=True))
        stages["up1"] = _stage(nn.Linear(self.width, math.prod(self.image)), nn.Tanh())
        stages["unflatten"] = nn.Unflatten(1, self.image)
        return nn.Sequential(stages)


def _stage(linear: nn.Linear, *activation: nn.Module) -> nn.Sequential:
    named = OrderedDict[str, nn.Module](linear=linear)
    for module in activation:
        named["activation"] = module
    return nn.Sequential(named)
