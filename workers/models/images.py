"""Convert images to the input format of networks."""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(images: Tensor) -> Tensor:
    """Convert uint8 images (N, C, H, W) to float32 in [-1, 1], with memory format channels_last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)
