"""The convolutional autoencoder of Kalibhat et al. (2021), with strides and max-pooling, without norms."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from workers.models.backbones.sizes import ImageSizeError
from workers.models.backbones.stage import stage

_SHRINK = 16
"""The side of the image divided by the side of the innermost feature map."""


@dataclass(frozen=True)
class PooledBackbone:
    """An encoder and a decoder with five stages each, of widths 1, 2, 4, 8 and 16 times `width`.

    The code is the flattened innermost feature map.

    Raises:
        ImageSizeError: if the image is not square, or its side is not a multiple of 16.
    """

    image: tuple[int, int, int]
    width: int

    def __post_init__(self) -> None:
        _, height, width = self.image
        if height != width or height % _SHRINK:
            raise ImageSizeError(
                f"images of {height}x{width} are not square with a side that is a multiple of {_SHRINK}"
            )

    @property
    def code(self) -> int:
        """The size of the code."""
        return self._features(5) * self._side**2

    @property
    def _side(self) -> int:
        return self.image[1] // _SHRINK

    def _features(self, k: int) -> int:
        """The number of channels after stage k. Stage 0 is the image."""
        return self.width << (k - 1) if k else self.image[0]

    def encoder(self) -> nn.Sequential:
        """A network from images (N, C, H, W) to codes (N, code)."""
        stages = OrderedDict[str, nn.Module]()
        for k, (kernel, stride, padding) in enumerate(((3, 1, 1), (4, 2, 1), (2, 2, 2), (3, 1, 1), (3, 2, 1)), start=1):
            conv = nn.Conv2d(self._features(k - 1), self._features(k), kernel, stride, padding)
            stages[f"down{k}"] = stage(conv, nn.ReLU(inplace=True))
            if k >= 4:
                stages[f"pool{k}"] = nn.MaxPool2d(2, stride=6 - k)
        stages["flatten"] = nn.Flatten()
        return nn.Sequential(stages)

    def decoder(self) -> nn.Sequential:
        """A network from codes (N, code) to images (N, C, H, W) in [-1, 1]."""
        stages = OrderedDict[str, nn.Module](unflatten=nn.Unflatten(1, (self._features(5), self._side, self._side)))
        shapes = ((3, 2, 0), (2, 2, 0), (2, 2, 1), (5, 1, 1), (2, 2, 4))
        for k, (kernel, stride, padding) in zip(range(5, 0, -1), shapes, strict=True):
            conv = nn.ConvTranspose2d(self._features(k), self._features(k - 1), kernel, stride, padding)
            stages[f"up{k}"] = stage(conv, nn.ReLU(inplace=True) if k > 1 else nn.Tanh())
        return nn.Sequential(stages)
