"""Strided convolutions with batch norm, after DCGAN (Radford et al. 2016)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from workers.models.backbones.backbone import Norm
from workers.models.backbones.sizes import halved
from workers.models.backbones.stage import stage


@dataclass(frozen=True)
class ConvBackbone:
    """Convolutions with kernel size 4 and stride 2. Each stage halves the image.

    The first stage has `width` channels, and each further stage doubles them.

    Raises:
        ImageSizeError: if the image is not square or cannot be halved `stages` times.
    """

    image: tuple[int, int, int]
    width: int
    stages: int

    def __post_init__(self) -> None:
        halved(self.image, self.stages)

    @property
    def _innermost(self) -> int:
        """The side of the innermost feature map. The kernel of a head covers this map completely."""
        return halved(self.image, self.stages)

    def _features(self, stage: int) -> int:
        """The number of channels after stage `stage`. Stage 0 is the image."""
        return self.width << (stage - 1) if stage else self.image[0]

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """A network from images (N, C, H, W) to codes (N, outputs). `norm_head` adds a batch norm to the code."""
        stages = OrderedDict[str, nn.Module]()
        for k in range(1, self.stages + 1):
            conv = nn.Conv2d(self._features(k - 1), self._features(k), 4, stride=2, padding=1)
            stages[f"down{k}"] = stage(conv, nn.BatchNorm2d(self._features(k)), nn.ReLU(inplace=True), norm=norm)
        conv = nn.Conv2d(self._features(self.stages), outputs, self._innermost)
        stages[head] = stage(conv, *([nn.BatchNorm2d(outputs)] if norm_head else []), norm=norm)
        stages["flatten"] = nn.Flatten()
        return nn.Sequential(stages)

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """A network from codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
        stages = OrderedDict[str, nn.Module](unflatten=nn.Unflatten(1, (inputs, 1, 1)))
        conv = nn.ConvTranspose2d(inputs, self._features(self.stages), self._innermost)
        stages[head] = stage(conv, nn.BatchNorm2d(self._features(self.stages)), nn.ReLU(inplace=True))
        for k in range(self.stages, 0, -1):
            conv = nn.ConvTranspose2d(self._features(k), self._features(k - 1), 4, stride=2, padding=1)
            inner = (nn.BatchNorm2d(self._features(k - 1)), nn.ReLU(inplace=True))
            stages[f"up{k}"] = stage(conv, *inner) if k > 1 else stage(conv, nn.Tanh())
        return nn.Sequential(stages)
