"""The colour glyphs of Noto's emoji font."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image

from search_spaces.datasets import DatasetSpec, Emoji
from workers.data.reading.card import DataError, Split
from workers.data.reading.files import Files, first_found
from workers.data.reading.folders import data_folder
from workers.data.reading.pictures import read_picture, stacked

DEBIAN = Path("/usr/share/fonts/truetype/noto")
FONT = "NotoColorEmoji.ttf"
HELD_OUT = 400
REMEDY = f"install the Debian package fonts-noto-color-emoji, or put {FONT} into the data folder"

_SPLIT = "glyphs of single code points, equal ones once, shuffled by seed 0, last 400 held out"
_TRANSFORM = "over white, padded to a square, resized to {size} by Lanczos"


def files(spec: DatasetSpec) -> Files:
    return first_found("emoji", [Files(root, (FONT,)) for root in (DEBIAN, data_folder())], REMEDY)


def words(spec: DatasetSpec) -> dict[str, str]:
    assert isinstance(spec, Emoji)
    return {"split": _SPLIT, "transform": _TRANSFORM.format(size=spec.size)}


def decode(spec: DatasetSpec, files: Files) -> Split:
    assert isinstance(spec, Emoji)
    path = files.root / FONT
    glyphs = _glyphs(path)
    if len(glyphs) <= HELD_OUT:
        raise DataError(f"data set emoji: {path} has only {len(glyphs)} colour bitmaps; {REMEDY}")
    order = np.random.default_rng(0).permutation(len(glyphs))
    images = stacked((_square(glyphs[i], path) for i in order), spec.size, 3)
    return Split(images[:-HELD_OUT], images[-HELD_OUT:])


def _glyphs(path: Path) -> list[bytes]:
    try:
        with TTFont(path) as font:
            bitmaps = font["CBDT"].strikeData[0]
            names = [name for _, name in sorted(font.getBestCmap().items()) if name in bitmaps]
            return list(dict.fromkeys(bitmaps[name].imageData for name in names))
    except (OSError, KeyError, struct.error, AssertionError, TTLibError) as error:
        raise DataError(f"data set emoji: {path} has no colour bitmaps, or is damaged: {error}; {REMEDY}") from error


def _square(png: bytes, path: Path) -> Image.Image:
    glyph = read_picture(io.BytesIO(png), "RGB", f"a glyph of {path}")
    side = max(glyph.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    return square
