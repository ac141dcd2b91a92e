from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.datasets import ImageFolder
from tests.workers.data.formats import noise, save, write_images
from workers import data
from workers.data import DataError, Split

SPEC = ImageFolder(folder="mine", size=32)


@pytest.fixture
def mine(data_folder: Path) -> Path:
    write_images(data_folder / "mine", 30)
    return data_folder / "mine"


def whole(split: Split) -> data.Images:
    return np.concatenate([split.train, split.held_out])


def colours(split: Split) -> set[tuple[int, ...]]:
    """The colours of images of one colour each."""
    return {tuple(image[:, 0, 0].tolist()) for image in whole(split)}


def test_a_tenth_but_at_least_ten_are_held_out(mine: Path) -> None:
    assert (data.card(SPEC).train, data.card(SPEC).held_out) == (20, 10)
    write_images(mine / "more", 90, suffix="jpg")
    data.card.cache_clear()
    assert (data.card(SPEC).train, data.card(SPEC).held_out) == (108, 12)


def test_images_are_centre_squares_resized(mine: Path) -> None:
    images = whole(data.load(SPEC))
    first = Image.open(mine / "000.png").crop((1, 0, 11, 10)).resize((32, 32), Image.Resampling.LANCZOS)
    assert images.shape == (30, 3, 32, 32)
    assert (images == np.asarray(first).transpose(2, 0, 1)).all(axis=(1, 2, 3)).sum() == 1


def test_images_of_any_format_and_depth_are_found(data_folder: Path) -> None:
    for depth, suffix in enumerate(["png", "jpg", "jpeg", "webp", "bmp", "PNG"]):
        write_images(data_folder / "mine" / "/".join("abcdef"[:depth]), 5, suffix=suffix, seed=depth)
    save(data_folder / "mine" / "notes.txt", b"no image")
    assert data.card(SPEC).train + data.card(SPEC).held_out == 30
    assert data.card(SPEC).classes == 0


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (100, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("I;16", 100 * 256, (100, 100, 100)),
    ],
)
def test_any_mode_becomes_colour_over_white(
    data_folder: Path, mode: str, colour: int | tuple[int, ...], seen: tuple[int, ...]
) -> None:
    (data_folder / "mine").mkdir()
    for i in range(20):
        Image.new(mode, (8, 8), colour).save(data_folder / "mine" / f"{i}.png")
    assert colours(data.load(SPEC)) == {seen}


def test_a_palette_may_be_transparent(data_folder: Path) -> None:
    (data_folder / "mine").mkdir()
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    for i in range(20):
        image.save(data_folder / "mine" / f"{i}.png", **({"transparency": 1} if i % 2 else {}))
    assert colours(data.load(SPEC)) == {(10, 20, 30), (255, 255, 255)}


def test_images_may_be_made_grey(mine: Path) -> None:
    grey = ImageFolder(folder="mine", size=32, channels=1)
    assert data.load(grey).train.shape == (20, 1, 32, 32)
    assert data.card(grey).image == (1, 32, 32)


def test_sub_folders_are_classes(data_folder: Path) -> None:
    for label, name in enumerate(["apes/small", "bears", "cats"]):
        for i in range(10):
            path = data_folder / "mine" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (label, i, 0)).save(path)
    split = data.load(SPEC)
    assert data.card(SPEC).classes == 3
    assert split.train_labels is not None
    assert split.held_out_labels is not None
    assert (split.train[:, 0, 0, 0] == split.train_labels).all()
    assert (split.held_out[:, 0, 0, 0] == split.held_out_labels).all()
    assert set(split.train_labels.tolist()) == {0, 1, 2}


def test_more_folders_than_labels_can_count_are_no_classes(data_folder: Path) -> None:
    for i in range(257):
        write_images(data_folder / "mine" / f"{i}", 1)
    assert data.card(SPEC).classes == 0


def test_the_place_of_a_folder_is_no_matter(mine: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 30)
    assert data.card(ImageFolder(folder=str(tmp_path / "elsewhere"), size=32)) == data.card(SPEC)


@pytest.mark.parametrize("damage", [b"", b"no image at all", noise(500).tobytes()])
def test_a_file_that_is_no_image_is_named(mine: Path, damage: bytes) -> None:
    save(mine / "007.png", damage)
    with pytest.raises(DataError, match=r"mine/007\.png is not a readable image"):
        data.card(SPEC)


def test_a_truncated_image_is_named(mine: Path) -> None:
    save(mine / "007.png", (mine / "007.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"mine/007\.png is not a readable image"):
        data.card(SPEC)


def test_too_few_images_are_counted(data_folder: Path) -> None:
    write_images(data_folder / "mine", 19)
    with pytest.raises(DataError, match=f"19 images are in {data_folder}/mine; fill the folder with at least 20"):
        data.card(SPEC)


def test_a_missing_folder_has_no_images(data_folder: Path) -> None:
    with pytest.raises(DataError, match=f"0 images are in {data_folder}/mine"):
        data.card(SPEC)
