"""Pictures: image files, read and brought into shape."""

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
"""What Pillow raises for files that are no images, or damaged ones, and for damaged notes about good ones."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation (CIPA DC-008, 4.6.4)."""


def read_picture(file: Path | IO[bytes], mode: str, name: str) -> Image.Image:
    """The picture in `file` as "RGB" or "L", transparency over white.

    Raises:
        DataError: if there is none; it says `name`.
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
    """The square of `side` pixels in the middle."""
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def resized(picture: Image.Image, size: int) -> Images:
    """The pixels of `picture`, brought to a square of `size` pixels."""
    return np.atleast_3d(np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))).transpose(2, 0, 1)


def stacked(pictures: Iterable[Image.Image], size: int, channels: int) -> Images:
    """`pictures`, each resized to a square of `size` pixels, as one array."""
    return collected((resized(picture, size) for picture in pictures), (channels, size, size))


def enlarged(images: Images, size: int) -> Images:
    """`images` as squares of `size` pixels, interpolated bilinearly."""
    if images.shape[-1] == size:
        return images
    planes = (Image.fromarray(plane) for plane in images.reshape(-1, *images.shape[2:]))
    pixels = (np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes)
    return collected(pixels, (size, size)).reshape(*images.shape[:2], size, size)


def collected(arrays: Iterable[Images], shape: tuple[int, ...]) -> Images:
    """`arrays` of one shape as one array."""
    # Not np.stack, which would hold all of a large data set twice.
    return np.fromiter(arrays, np.dtype((np.uint8, shape))).view(np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it writes all other notes anew, and fails where a camera wrote nonsense.
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except _UNREADABLE:  # a good picture, whose notes cannot be read: it is taken as it is
        return picture
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def _eight_bit(picture: Image.Image) -> Image.Image:
    # Pillow would clip 16-bit greys: nearly all of them would turn white.
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
