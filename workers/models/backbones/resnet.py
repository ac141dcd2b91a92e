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
    """Stages of one residual block each. Each stage halves the image.

    The first stage has `width` channels, and each further stage doubles them. In the first stage of the encoder, the
    convolution next to the image does the halving. The encoder averages over all positions before the head.

    Raises:
        ImageSizeError: if the image is not square or cannot be halved `stages` times.
    """

    image: tuple[int, int, int]
    width: int
    stages: int

    def __post_init__(self) -> None:
        halved(self.image, self.stages)

    def _features(self, k: int) -> int:
        """The number of channels after stage k. For k = 0, the number inside stage 1, which is the same as after it."""
        return self.width << max(k - 1, 0)

    def encoder(self, head: str, outputs: int, *, norm_head: bool = False, norm: Norm = "batch") -> nn.Sequential:
        """A network from images (N, C, H, W) to codes (N, outputs). `norm_head` adds a batch norm to the code."""
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
        """A network from codes (N, inputs) to images (N, C, H, W) in [-1, 1]."""
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
        """Block k of the encoder. Every block except the first halves the feature map."""
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
        # This pooling only selects every second position for the 1x1 convolution. A 1x1 convolution with stride 2
        # computes the same. But with 2 to 7 input channels, its backward pass on a CPU writes past its memory
        # (oneDNN, channels_last).
        subsample = nn.AvgPool2d(1, stride=stride)
        project = stage(nn.Conv2d(before, after, 1, bias=bias), nn.BatchNorm2d(after), norm=norm)
        shortcut = OrderedDict[str, nn.Module](subsample=subsample, **dict(project.named_children()))
        return _block(nn.Sequential(body), nn.Sequential(shortcut))

    def _up(self, k: int) -> nn.Sequential:
        """Block k of the decoder. Every block except the first doubles the feature map."""
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
    # the activation can be in place, because nothing else reads the sum
    return nn.Sequential(OrderedDict(sum=Residual(body, shortcut), activation=nn.ReLU(inplace=True)))
