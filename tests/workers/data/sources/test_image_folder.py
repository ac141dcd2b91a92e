import os
import shutil
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


def plain(split: Split) -> set[tuple[int, ...]]:
    """The colours of the images that are of one colour each."""
    return {tuple(image[:, 0, 0].tolist()) for image in whole(split) if (image == image[:, :1, :1]).all()}


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
    mine: Path, mode: str, colour: int | tuple[int, ...], seen: tuple[int, ...]
) -> None:
    Image.new(mode, (8, 8), colour).save(mine / "plain.png")
    assert seen in plain(data.load(SPEC))


@pytest.mark.parametrize(
    ("mode", "key", "seen"), [("P", 1, (10, 20, 30)), ("L", 100, (100,) * 3), ("I;16", 25600, (100,) * 3)]
)
def test_a_colour_may_stand_for_transparency(mine: Path, mode: str, key: int, seen: tuple[int, ...]) -> None:
    image = Image.new(mode, (8, 8), key)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(mine / "opaque.png")
    image.save(mine / "clear.png", transparency=key)
    assert plain(data.load(SPEC)) == {seen, (255, 255, 255)}


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
        write_images(data_folder / "mine" / f"{i}", 1, seed=i)
    assert data.card(SPEC).classes == 0


def test_the_place_of_a_folder_is_no_matter(mine: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 30)
    assert data.card(ImageFolder(folder=str(tmp_path / "elsewhere"), size=32)) == data.card(SPEC)


@pytest.mark.parametrize("damage", [b"", b"no image at all", noise(500).tobytes()])
def test_a_file_that_is_no_image_is_named(mine: Path, damage: bytes) -> None:
    save(mine / "007.png", damage)
    with pytest.raises(DataError, match=r"1 of 30 files in .*/mine cannot be read: 007\.png is not a readable image"):
        data.card(SPEC)


def test_a_truncated_image_is_named(mine: Path) -> None:
    save(mine / "007.png", (mine / "007.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"1 of 30 files in .*/mine cannot be read: 007\.png is not a readable image"):
        data.card(SPEC)


def test_too_few_images_are_counted(data_folder: Path) -> None:
    write_images(data_folder / "mine", 19)
    with pytest.raises(DataError, match=f"19 images are in {data_folder}/mine; fill the folder with at least 20"):
        data.card(SPEC)


@pytest.mark.parametrize("folder", ["mine", "~nobody-of-this-name/mine", "a" * 300])
def test_a_missing_folder_is_named(data_folder: Path, folder: str) -> None:
    with pytest.raises(DataError, match=f"{data_folder}"[:60]):  # of a long name the middle is left out
        data.card(ImageFolder(folder=folder))


def test_hidden_files_and_those_of_other_programs_are_no_images(mine: Path) -> None:
    before = data.card(SPEC)
    for folder in (".ipynb_checkpoints", "__MACOSX/mine", "@eaDir", ".hidden/deep"):
        write_images(mine / folder, 20, seed=9)
    save(mine / "._000.png", b"AppleDouble")
    save(mine / ".DS_Store", b"")
    data.card.cache_clear()
    assert data.card(SPEC) == before


def test_a_folder_that_is_hidden_itself_is_read(data_folder: Path) -> None:
    write_images(data_folder / ".cache" / "mine", 20)
    assert data.card(ImageFolder(folder=".cache/mine", size=32)).train == 10


def test_copies_count_once_and_fall_on_no_two_sides(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in sorted(mine.iterdir()):
        shutil.copy(path, mine / f"{path.stem}-copy.png")
        Image.open(path).save(mine / f"{path.stem}.bmp")
    images = whole(data.load(SPEC))
    assert len(images) == len(np.unique(images, axis=0)) == 30
    assert [record.getMessage() for record in caplog.records] == [
        f"data set image_folder: 60 of 90 images in {mine} are copies of others, as seen once resized, and count once"
    ]


def test_labels_stay_with_their_images_where_copies_are_left_out(data_folder: Path) -> None:
    for label, name in enumerate(["apes", "bears"]):
        for i in range(30):
            save(data_folder / "mine" / name / f"{i:02}.png", b"").unlink()
            Image.new("RGB", (8, 8), (label, i % 15, 0)).save(data_folder / "mine" / name / f"{i:02}.png")
    split = data.load(SPEC)
    assert (data.card(SPEC).train, data.card(SPEC).held_out) == (20, 10)
    assert (split.train[:, 0, 0, 0] == split.train_labels).all()
    assert (split.held_out[:, 0, 0, 0] == split.held_out_labels).all()


def test_too_few_different_images_are_refused(mine: Path) -> None:
    for path in sorted(mine.iterdir())[1:]:
        shutil.copy(mine / "000.png", path)
    with pytest.raises(DataError, match=f"29 of 30 images in {mine} are copies of others.*at least 20"):
        data.card(SPEC)


@pytest.mark.parametrize("parts", [("train", "val"), ("Train", "Test"), ("training", "validation", "more")])
def test_a_split_is_not_taken_for_classes(data_folder: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        write_images(data_folder / "mine" / part, 20, seed=len(part))
    with pytest.raises(DataError, match=rf"{parts[0]} and {parts[1]} in .*/mine are a split.*folder: .../{parts[0]}\)"):
        data.card(SPEC)
    assert data.card(ImageFolder(folder=f"mine/{parts[0]}", size=32)).train == 10


def test_trains_may_be_a_class(data_folder: Path) -> None:
    for name in ("train", "bus"):
        write_images(data_folder / "mine" / name, 20, seed=len(name))
    assert data.card(SPEC).classes == 2


def test_links_are_followed(data_folder: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", 21)
    write_images(data_folder / "mine" / "apes", 20, seed=1)
    (data_folder / "mine" / "bears").symlink_to(tmp_path / "elsewhere")
    (data_folder / "mine" / "apes" / "linked.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    card = data.card(SPEC)
    assert (card.train + card.held_out, card.classes) == (41, 2)  # the linked image is a copy


def test_a_linked_folder_counts_once_and_where_it_lies(data_folder: Path) -> None:
    for name in ("bears", "cats"):
        write_images(data_folder / "mine" / name, 20, seed=len(name))
    before = data.card(SPEC)
    (data_folder / "mine" / "apes").symlink_to("cats")
    (data_folder / "mine" / "bears" / "again").symlink_to("../cats")
    (data_folder / "mine" / "cats" / "up").symlink_to("..")
    (data_folder / "mine" / "cats" / "self").symlink_to(".")
    data.card.cache_clear()
    assert data.card(SPEC) == before


def test_what_is_left_out_is_told_when_it_changes(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        caplog.clear()
        data.card.cache_clear()
        data.card(SPEC)
        return [record.getMessage() for record in caplog.records]

    assert told() == []
    for i in range(12):
        save(mine / f"{i}.tif", b"")
    save(mine / "README", b"")
    (mine / "gone.png").symlink_to("nowhere")
    (mine / "apes").symlink_to("nowhere")
    left_out = "files of other kinds (12 .tif, 1 no suffix); links to nowhere (apes, gone.png)"
    assert told() == [f"data set image_folder: left out of {mine}: {left_out}"]
    assert told() == []
    for i in range(10):
        save(mine / f"file.kind{i}", b"")
    (message,) = told()
    assert "1 .kind4 and 6 more" in message


def test_other_kinds_are_told_where_there_are_too_few_images(mine: Path) -> None:
    for path in mine.iterdir():
        path.rename(path.with_suffix(".tif"))
    with pytest.raises(DataError, match=r"0 images are in .*, besides files of other kinds \(30 \.tif\)"):
        data.card(SPEC)


@pytest.mark.parametrize(
    "name", [b"caf\xe9", "k\u00e4tzchen \U0001f431".encode(), b"two\nlines\t", b"x" * 200, b"%s {0} 'a\""]
)
def test_names_may_be_any(mine: Path, name: bytes) -> None:
    before, odd = data.card(SPEC), os.fsdecode(name)
    for path in sorted(mine.iterdir()):
        path.rename(mine / f"{odd}{path.name}")
    data.card.cache_clear()
    assert data.card(SPEC) == before
    (mine.parent / "classes").mkdir()
    mine.rename(mine.parent / "classes" / odd)
    assert data.card(ImageFolder(folder="classes", size=32)).classes == 1
    save(mine.parent / "classes" / odd / f"{odd}.png", b"no image")
    data.card.cache_clear()
    with pytest.raises(DataError, match=r"1 of 31 files .* is not a readable image") as caught:
        data.card(ImageFolder(folder="classes", size=32))
    assert str(caught.value).isprintable()


def test_unreadable_files_are_counted_and_three_are_named(mine: Path) -> None:
    for i in (3, 5, 7, 11, 13):
        save(mine / f"{i:03}.png", b"<html>quota exceeded</html>")
    with pytest.raises(DataError) as caught:
        data.card(SPEC)
    each = "is not a readable image: it is of no known format"
    assert str(caught.value) == (
        f"data set image_folder: 5 of 30 files in {mine} cannot be read: "
        f"003.png {each}; 005.png {each}; 007.png {each}; ..."
    )


def test_a_folder_that_cannot_be_read_is_refused(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match=r"its files cannot be read: .*Permission denied"):
        data.card(SPEC)


def test_an_ordinary_folder_keeps_its_fingerprint(mine: Path) -> None:
    assert data.card(SPEC).fingerprint == "23d0cce9a442d8d4946f2de39fea91bee56a01bd40500375a1458e3d7138491c"
