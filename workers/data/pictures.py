"""Pictures: image files, read and brought into shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from workers.data.card import DataError, Images

_UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are no images, or damaged ones."""


def read_picture(file: Path | IO[bytes], mode: str, name: str) -> Image.Image:
    """The picture in `file` as "RGB" or "L", transparency over white.

    Raises:
        DataError: if there is none; it says `name`.
    """
    try:
        with Image.open(file) as picture:
            return _opaque(_eight_bit(ImageOps.exif_transpose(picture))).convert(mode)
    except _UNREADABLE as error:
        raise DataError(f"{name} is not a readable image: {error}") from error


def centre(picture: Image.Image, side: int) -> Image.Image:
    """The square of `side` pixels in the middle."""
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def stacked(pictures: Iterable[Image.Image], size: int, channels: int) -> Images:
    """`pictures`, each resized to a square of `size` pixels, as one array."""
    resized = (_pixels(picture.resize((size, size), Image.Resampling.LANCZOS)) for picture in pictures)
    return _collected(resized, (channels, size, size))


def enlarged(images: Images, size: int) -> Images:
    """`images` as squares of `size` pixels, interpolated bilinearly."""
    if images.shape[-1] == size:
        return images
    planes = (Image.fromarray(plane) for plane in images.reshape(-1, *images.shape[2:]))
    resized = (np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes)
    return _collected(resized, (size, size)).reshape(*images.shape[:2], size, size)


def _collected(arrays: Iterable[Images], shape: tuple[int, ...]) -> Images:
    # Not np.stack, which would hold all of a large data set twice.
    return np.fromiter(arrays, np.dtype((np.uint8, shape))).view(np.uint8)


def _eight_bit(picture: Image.Image) -> Image.Image:
    # Pillow would clip 16-bit greys: nearly all of them would turn white.
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))


def _pixels(picture: Image.Image) -> Images:
    return np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
