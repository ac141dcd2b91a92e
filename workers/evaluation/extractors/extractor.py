"""The interface of feature extractors."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from search_spaces.errors import TombolaError


class ExtractorError(TombolaError):
    """An extractor cannot be made; the message says why."""


class Extractor(Protocol):
    """A deterministic function from images to features."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, D) in float32 of uint8 images (N, C, H, W) on its device, grey (C = 1) or RGB (C = 3)."""
