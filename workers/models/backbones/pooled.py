"""The convolutional autoencoder of Kalibhat et al. (2021): strides, max-pools, no norms."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from workers.models.backbones.sizes import ImageSizeError
from workers.models.backbones.stage import stage

_SHRINK = 16
"""How much smaller than the image the side of the innermost map is."""


@dataclass(frozen=True)
class PooledBackbone:
    """Five stages a side, of widths 1, 2, 4, 8 and 16 times `width`; the code is the innermost map.

    Raises:
        ImageSizeError: if the image is not square, or its side no multiple of 16.
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
        """Channels after stage k; before the first they are the image's."""
        return self.width << (k - 1) if k else self.image[0]

    def encoder(self) -> nn.Sequential:
        """Images (N, C, H, W) to codes (N, code)."""
        stages = OrderedDict[str, nn.Module]()
        for k, (kernel, stride, padding) in enumerate(((3, 1, 1), (4, 2, 1), (2, 2, 2), (3, 1, 1), (3, 2, 1)), start=1):
            conv = nn.Conv2d(self._features(k - 1), self._features(k), kernel, stride, padding)
            stages[f"down{k}"] = stage(conv, nn.ReLU(inplace=True))
            if k >= 4:
                stages[f"pool{k}"] = nn.MaxPool2d(2, stride=6 - k)
        stages["flatten"] = nn.Flatten()
        return nn.Sequential(stages)

    def decoder(self) -> nn.Sequential:
        """Codes (N, code) to images (N, C, H, W) in [-1, 1]."""
        stages = OrderedDict[str, nn.Module](unflatten=nn.Unflatten(1, (self._features(5), self._side, self._side)))
        shapes = ((3, 2, 0), (2, 2, 0), (2, 2, 1), (5, 1, 1), (2, 2, 4))
        for k, (kernel, stride, padding) in zip(range(5, 0, -1), shapes, strict=True):
            conv = nn.ConvTranspose2d(self._features(k), self._features(k - 1), kernel, stride, padding)
            stages[f"up{k}"] = stage(conv, nn.ReLU(inplace=True) if k > 1 else nn.Tanh())
        return nn.Sequential(stages)
