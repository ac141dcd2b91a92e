import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from search_spaces.datasets import CelebA
from tests.workers.data.formats import md5, save
from workers import data
from workers.data import DataError
from workers.data.sources.celeba import ARCHIVE, MD5, PARTITION

PARTS = [0, 0, 1, 2, 0, 2]


def face(number: int) -> Image.Image:
    """Black, with a grey square of 120 pixels in the middle that is brighter the higher the number is."""
    image = Image.new("RGB", (178, 218))
    image.paste((30 + 30 * number,) * 3, (29, 49, 149, 169))
    return image


@pytest.fixture
def folder(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = data_folder / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for number in range(len(PARTS)):
        face(number).save(root / "img_align_celeba" / f"{number + 1:06}.jpg", quality=95)
    partition = save(root / PARTITION, "".join(f"{i + 1:06}.jpg {part}\n" for i, part in enumerate(PARTS)).encode())
    monkeypatch.setitem(MD5, PARTITION, md5(partition.read_bytes()))
    return root


@pytest.fixture
def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / ARCHIVE
    with ZipFile(path, "w") as file:
        for image in sorted((folder / "img_align_celeba").iterdir()):
            file.write(image, image.relative_to(folder))
    shutil.rmtree(folder / "img_align_celeba")
    monkeypatch.setitem(MD5, ARCHIVE, md5(path.read_bytes()))
    return path


def test_the_parts_are_those_of_the_list(folder: Path) -> None:
    split, card = data.load(CelebA(crop=108)), data.card(CelebA(crop=108))
    assert (card.train, card.held_out, card.image, card.classes, card.labels) == (3, 2, (3, 32, 32), 0, "")
    assert split.train_labels is None
    assert abs(split.train.mean(axis=(1, 2, 3)) - [30, 60, 150]).max() < 2
    assert abs(split.held_out.mean(axis=(1, 2, 3)) - [120, 180]).max() < 2


@pytest.mark.parametrize(("crop", "share"), [(108, 1), (140, 120**2 / 140**2), (148, 120**2 / 148**2)])
def test_a_crop_is_the_centre(folder: Path, crop: int, share: float) -> None:
    image = data.load(CelebA(crop=crop, size=64)).held_out[1, 0] / 180
    assert image.mean() == pytest.approx(share, abs=0.02)
    assert image == pytest.approx(image[::-1, ::-1], abs=0.03)


def test_without_a_crop_the_whole_face_is_squeezed(folder: Path) -> None:
    image = data.load(CelebA(size=64)).held_out[1, 0] > 90
    assert np.count_nonzero(image[32]) == pytest.approx(64 * 120 / 178, abs=1)
    assert np.count_nonzero(image[:, 32]) == pytest.approx(64 * 120 / 218, abs=1)


def test_each_crop_and_size_is_a_data_set_of_its_own(folder: Path) -> None:
    specs = [CelebA(), CelebA(size=64), CelebA(crop=108), CelebA(crop=140), CelebA(crop=148)]
    assert len({data.card(spec).fingerprint for spec in specs}) == 5


def test_the_zip_is_the_same_data_set(folder: Path, request: pytest.FixtureRequest) -> None:
    unpacked = data.card(CelebA())
    request.getfixturevalue("archive")
    data.card.cache_clear()
    assert data.card(CelebA()) == unpacked


@pytest.mark.parametrize("name", [ARCHIVE, PARTITION])
def test_another_file_than_the_official_one_is_refused(archive: Path, name: str) -> None:
    path = archive.parent / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{name} is damaged.*delete it and put .* from https://mmlab"):
        data.card(CelebA())


def test_a_missing_face_is_named(folder: Path) -> None:
    (folder / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(DataError, match=r"000005\.jpg is missing"):
        data.card(CelebA())


def test_a_truncated_face_is_named(folder: Path) -> None:
    path = folder / "img_align_celeba" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"000002\.jpg is not a readable image"):
        data.card(CelebA())


def test_a_face_of_another_size_is_refused(folder: Path) -> None:
    face(0).resize((64, 64)).save(folder / "img_align_celeba" / "000002.jpg")
    with pytest.raises(DataError, match=r"000002\.jpg is not of 178x218 pixels"):
        data.card(CelebA())


def test_missing_faces_say_where_they_were_looked_for(data_folder: Path) -> None:
    with pytest.raises(DataError, match=f"not in {data_folder}/celeba .*put {ARCHIVE} and {PARTITION}"):
        data.card(CelebA())


def test_what_is_there_instead_is_named(data_folder: Path) -> None:
    save(data_folder / "celeba/img_align_celeba/img_align_celeba/000001.jpg", b"")
    save(data_folder / "celeba/list_eval_partition.csv", b"")
    with pytest.raises(DataError) as caught:
        data.card(CelebA())
    assert "celeba (there: img_align_celeba/, list_eval_partition.csv)" in str(caught.value)
    assert f"missing: {PARTITION}, {ARCHIVE};" in str(caught.value)
