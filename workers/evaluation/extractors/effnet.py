"""EfficientNet-Lite0: a small network for distances that need not be FID."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import Sequential
from torch.nn import functional as F

from workers.evaluation.extractors.extractor import ExtractorError
from workers.evaluation.extractors.state import fitting

_SIDE = 224


class EffNet:
    """The 320 channels of the last block of EfficientNet-Lite0, averaged over space."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Make the network on `device`.

        Raises:
            ExtractorError: if `state` does not fit EfficientNet-Lite0, or the package that defines it is missing.
        """
        package = _package()
        with torch.random.fork_rng(devices=[]), fitting("EfficientNet-Lite0"):
            network = package.EfficientNet.from_name("efficientnet-lite0")
            network.load_state_dict(state)
        trunk = Sequential(network._conv_stem, network._bn0, network._swish, *network._blocks)
        self._trunk = trunk.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, 320) in float32 of uint8 images (N, 1 or 3, H, W)."""
        activations: Tensor = self._trunk(prepared(images))
        return activations.mean(dim=(2, 3))


def prepared(images: Tensor) -> Tensor:
    """Prepare images as in the network's training: RGB, 224 x 224, each pixel (x - 127) / 128.

    The numbers come from TensorFlow's `efficientnet/lite/efficientnet_lite_builder.py`.
    """
    resized = F.interpolate(images.float(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
    return resized.sub(127).div(128).expand(-1, 3, -1, -1)


def _package() -> ModuleType:
    try:
        return import_module("efficientnet_lite_pytorch")
    except ModuleNotFoundError as error:
        raise ExtractorError(
            "features effnet: the package efficientnet_lite_pytorch is not installed; pip install 'tombola[effnet]'"
        ) from error
