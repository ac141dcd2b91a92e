"""Pictures: reading image files, and turning, cutting and resizing them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from workers.data.reading.card import DataError, Images
from workers.data.reading.files import shown

_UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are no images, for damaged images, and for damaged metadata of good images."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns a picture upright, by its EXIF orientation (CIPA DC-008, 4.6.4)."""


def read_picture(file: Path | IO[bytes], mode: str, name: str) -> Image.Image:
    """Read the picture in `file` in `mode` "RGB" or "L": upright by EXIF, transparency over white.

    Raises:
        DataError: if it cannot be read; the message shows `name`.
    """
    try:
        with Image.open(file) as picture:
            picture.load()
            return _opaque(_eight_bit(_upright(picture))).convert(mode)
    except UnidentifiedImageError as error:
        raise DataError(f"{shown(name)} is not a readable image: it is of no known format") from error
    except _UNREADABLE as error:
        raise DataError(f"{shown(name)} is not a readable image: {shown(str(error))}") from error


def centre(picture: Image.Image, side: int) -> Image.Image:
    """The square in the middle of a picture, `side` × `side` pixels."""
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def resized(picture: Image.Image, size: int) -> Images:
    """The pixels (channels, size, size) of `picture`, resized by Lanczos."""
    return np.atleast_3d(np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))).transpose(2, 0, 1)


def stacked(pictures: Iterable[Image.Image], size: int, channels: int) -> Images:
    """One array (N, channels, size, size) of `pictures`, each resized by Lanczos."""
    return collected((resized(picture, size) for picture in pictures), (channels, size, size))


def enlarged(images: Images, size: int) -> Images:
    """`images` (N, channels, height, width), resized to `size` × `size` pixels by bilinear interpolation."""
    if images.shape[-1] == size:
        return images
    planes = (Image.fromarray(plane) for plane in images.reshape(-1, *images.shape[2:]))
    pixels = (np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes)
    return collected(pixels, (size, size)).reshape(*images.shape[:2], size, size)


def collected(arrays: Iterable[Images], shape: tuple[int, ...]) -> Images:
    """One array of `arrays`, all of the same `shape`."""
    # Not np.stack, which would hold a large data set in memory twice.
    return np.fromiter(arrays, np.dtype((np.uint8, shape))).view(np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it rewrites all other metadata, and fails if a camera wrote invalid entries.
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except _UNREADABLE:  # only the metadata is damaged, so the picture is used as it is
        return picture
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def _eight_bit(picture: Image.Image) -> Image.Image:
    # Pillow would clip 16-bit greys at 255, and nearly all of them would turn white.
    if not picture.mode.startswith("I;16"):
        return picture
    levels = np.asarray(picture)
    grey = Image.fromarray((levels >> 8).astype(np.uint8))
    if "transparency" in picture.info:
        grey.putalpha(Image.fromarray(np.where(levels == picture.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
