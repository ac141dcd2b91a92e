"""Residual blocks with batch norm, after ResNet-18 (He et al. 2016)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from workers.models.backbones.backbone import Norm
from workers.models.backbones.residual import Residual
from workers.models.backbones.sizes import halved
from workers.models.backbones.stage import stage


@dataclass(frozen=True)
class ResNetBackbone:
    """Stages of one block each, whose width doubles from `width` with every halving of the image but the first.

    The first halving is that of the convolution next to the image. The heads see the mean over all places.

    Raises:
        ImageSizeError: if the image is not square or cannot be halved `stages` times.
    """

    image: tuple[int, int, int]
    width: int
    stages: int

    def __post_init__(self) -> None:
        halved(self.image, self.stages)

    def _features(self, k: int) -> int:
        """Channels after stage k; within the first there are as many."""
        return self.width << max(k - 1, 0)

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """Images (N, C, H, W) to codes (N, outputs); `norm_head` puts a batch norm on the code."""
        image = nn.Conv2d(self.image[0], self.width, 3, stride=2, padding=1, bias=norm != "batch")
        nearest = OrderedDict[str, nn.Module](
            image=stage(image, nn.BatchNorm2d(self.width), nn.ReLU(inplace=True), norm=norm), block=self._down(1, norm)
        )
        stages = OrderedDict[str, nn.Module](down1=nn.Sequential(nearest))
        for k in range(2, self.stages + 1):
            stages[f"down{k}"] = self._down(k, norm)
        stages["pool"] = nn.AdaptiveAvgPool2d(1)
        conv = nn.Conv2d(self._features(self.stages), outputs, 1)
        stages[head] = stage(conv, *([nn.BatchNorm2d(outputs)] if norm_head else []), norm=norm)
        stages["flatten"] = nn.Flatten()
        return nn.Sequential(stages)

    def decoder(self, head: str, inputs: int) -> nn.Sequential:
        """Codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
        top = self._features(self.stages)
        stages = OrderedDict[str, nn.Module](unflatten=nn.Unflatten(1, (inputs, 1, 1)))
        conv = nn.ConvTranspose2d(inputs, top, 1)
        stages[head] = stage(conv, nn.BatchNorm2d(top), nn.ReLU(inplace=True))
        stages["spread"] = nn.Upsample(scale_factor=halved(self.image, self.stages))
        for k in range(self.stages, 1, -1):
            stages[f"up{k}"] = self._up(k)
        image = stage(nn.Conv2d(self.width, self.image[0], 3, padding=1), nn.Tanh())
        stages["up1"] = nn.Sequential(OrderedDict(block=self._up(1), upsample=nn.Upsample(scale_factor=2), image=image))
        return nn.Sequential(stages)

    def _down(self, k: int, norm: Norm) -> nn.Sequential:
        """Block k of the encoder, which halves what it sees, but for the first."""
        before, after = self._features(k - 1), self._features(k)
        stride, bias = 1 if k == 1 else 2, norm != "batch"
        first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=bias)
        second = nn.Conv2d(after, after, 3, padding=1, bias=bias)
        body = OrderedDict[str, nn.Module](
            first=stage(first, nn.BatchNorm2d(after), nn.ReLU(inplace=True), norm=norm),
            second=stage(second, nn.BatchNorm2d(after), norm=norm),
        )
        if k == 1:
            return _block(nn.Sequential(body), nn.Identity())
        # A 1x1 convolution of every other place. One with a stride of 2 reads the same, but where it has 2 to 7 input
        # channels, its backward pass on a CPU writes past its memory (oneDNN, channels_last).
        subsample = nn.AvgPool2d(1, stride=stride)
        project = stage(nn.Conv2d(before, after, 1, bias=bias), nn.BatchNorm2d(after), norm=norm)
        shortcut = OrderedDict[str, nn.Module](subsample=subsample, **dict(project.named_children()))
        return _block(nn.Sequential(body), nn.Sequential(shortcut))

    def _up(self, k: int) -> nn.Sequential:
        """Block k of the decoder, which doubles what it sees, but for the first."""
        before, after = self._features(k), self._features(k - 1)
        first = stage(_unbiased(before, before), nn.BatchNorm2d(before), nn.ReLU(inplace=True))
        second = stage(_unbiased(before, after), nn.BatchNorm2d(after))
        if k == 1:
            return _block(nn.Sequential(OrderedDict[str, nn.Module](first=first, second=second)), nn.Identity())
        body = OrderedDict(first=first, upsample=nn.Upsample(scale_factor=2), second=second)
        project = stage(_unbiased(before, after), nn.BatchNorm2d(after))
        shortcut = OrderedDict(upsample=nn.Upsample(scale_factor=2), project=project)
        return _block(nn.Sequential(body), nn.Sequential(shortcut))


def _unbiased(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, bias=False)


def _block(body: nn.Sequential, shortcut: nn.Module) -> nn.Sequential:
    # nobody else reads the sum, so that the activation may be in place
    return nn.Sequential(OrderedDict(sum=Residual(body, shortcut), activation=nn.ReLU(inplace=True)))
