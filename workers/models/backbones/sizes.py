"""Check image sizes against the stages of backbones."""

from __future__ import annotations

from search_spaces.errors import TombolaError


class ImageSizeError(TombolaError):
    """A backbone does not support images of this size."""


def halved(image: tuple[int, int, int], stages: int) -> int:
    """The side of an image (channels, height, width) after it is halved `stages` times.

    Raises:
        ImageSizeError: if the image is not square, or cannot be halved `stages` times.
    """
    _, height, width = image
    if height != width or height % 2**stages:
        raise ImageSizeError(f"images of {height}x{width} cannot be halved {stages} times")
    return height >> stages
