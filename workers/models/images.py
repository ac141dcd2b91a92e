"""Images as networks take them."""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(images: Tensor) -> Tensor:
    """uint8 images as floats in [-1, 1], channels_last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1)
