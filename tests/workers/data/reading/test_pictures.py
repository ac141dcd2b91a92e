"""Pictures as cameras, editors and broken disks leave them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.workers.data.formats import noise
from workers.data import DataError
from workers.data.reading.pictures import read_picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the notes that it finds

PIXELS = noise(24, 20, 3)
ORIENTATION = (0x112, 3, 1, struct.pack("<H", 6))


def tiff(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF notes: a tag, its type, how many values, and their bytes, each."""
    body, extra, start = struct.pack("<H", len(entries)), b"", 14 + 12 * len(entries)
    for tag, kind, count, value in entries:
        body += struct.pack("<HHL", tag, kind, count)
        body += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<L", start + len(extra))
        extra += value if len(value) > 4 else b""
    return b"Exif\0\0II" + struct.pack("<HL", 42, 8) + body + bytes(4) + extra


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(PIXELS)
    (image.convert("P") if kind == "GIF" else image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_brought_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    content = saved("PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (np.asarray(read_picture(io.BytesIO(content), "RGB", "x")) == np.asarray(upright)).all()


@pytest.mark.parametrize(
    "notes",
    [
        tiff(ORIENTATION, (0x100, 4, 2, struct.pack("<LL", 1, 2)), (0x115, 2, 6, b"three\0")),
        tiff(ORIENTATION, (0x11A, 10, 1, struct.pack("<ll", -(2**31), 0))),
        tiff(ORIENTATION, (0x11A, 12, 1, struct.pack("<d", float("nan")))),
        tiff(ORIENTATION, (0x11A, 12, 1, struct.pack("<d", float("inf")))),
        tiff(ORIENTATION, (0x11A, 5, 1, struct.pack("<LL", 72, 0))),
        tiff(ORIENTATION, (0x8769, 2, 4, b"abc\0")),
        tiff(ORIENTATION, (0x8825, 4, 1, struct.pack("<L", 9000))),
        tiff(ORIENTATION, (0x10F, 99, 1, struct.pack("<L", 100))),
    ],
)
def test_a_picture_with_odd_notes_is_read_and_turned(notes: bytes) -> None:
    content = saved("JPEG", exif=notes, quality=95)
    plain = np.asarray(Image.open(io.BytesIO(saved("JPEG", quality=95))))
    assert (np.asarray(read_picture(io.BytesIO(content), "RGB", "x")) == np.rot90(plain, -1)).all()


@pytest.mark.parametrize(
    "notes", [b"Exif\0\0garbage!", b"Exif\0\0II*\0", tiff((0x112, 2, 2, b"6\0")), tiff((0x112, 3, 2, bytes(4)))]
)
def test_a_picture_whose_notes_say_nothing_is_taken_as_it_is(notes: bytes) -> None:
    assert read_picture(io.BytesIO(saved("JPEG", exif=notes)), "RGB", "x").size == (20, 24)


def test_damaged_pictures_are_read_or_refused_in_one_sentence() -> None:
    exif = Image.Exif()
    exif[0x112], exif[0x10F], exif[0x11A] = 6, "maker", 72.0
    exif.get_ifd(0x8769)[0x9000], exif.get_ifd(0x8825)[1] = b"0230", "N"
    whole = [
        saved("PNG", exif=exif),
        saved("JPEG", exif=exif),
        saved("JPEG", progressive=True),
        saved("WEBP", exif=exif),
        saved("WEBP", lossless=True),
        saved("BMP"),
        saved("GIF"),
    ]
    dice, refused = np.random.default_rng(0), []
    for number in range(700):
        content = bytearray(whole[number % len(whole)])
        for _ in range(dice.integers(1, 6)):
            content[dice.integers(0, min(len(content), 300))] = dice.choice([0, 1, 128, 255, dice.integers(256)])
        if dice.random() < 0.1:
            del content[dice.integers(1, len(content)) :]
        try:
            assert read_picture(io.BytesIO(content), "RGB", "x").mode == "RGB"
        except DataError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 600
    assert all(message.startswith("x is not a readable image: ") and message.isprintable() for message in refused)


def test_a_picture_too_large_to_be_one_is_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    with pytest.raises(DataError, match="x is not a readable image: Image size"):
        read_picture(file, "L", "x")
