"""Sizes of images that backbones have stages for."""

from __future__ import annotations

from search_spaces.errors import TombolaError


class ImageSizeError(TombolaError):
    """Images of a size that a backbone has no stages for."""


def halved(image: tuple[int, int, int], stages: int) -> int:
    """The side of images (channels, height, width) after they were halved so often.

    Raises:
        ImageSizeError: if they are not square, or cannot be halved so often.
    """
    _, height, width = image
    if height != width or height % 2**stages:
        raise ImageSizeError(f"images of {height}x{width} cannot be halved {stages} times")
    return height >> stages
