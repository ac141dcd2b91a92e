import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from search_spaces.datasets import CIFAR10
from tests.workers.data.formats import cifar_batch, md5, noise, save
from workers import data
from workers.data import DataError
from workers.data.sources.cifar10 import ARCHIVE, MD5

BATCHES = [name for name in MD5 if name != ARCHIVE]
IMAGES = noise(6, 2, 3, 32, 32)
LABELS = [[i, 9 - i] for i in range(6)]
CONTENTS = {name: cifar_batch(*batch) for name, *batch in zip(BATCHES, IMAGES, LABELS, strict=True)}


@pytest.fixture
def folder(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in CONTENTS.items():
        monkeypatch.setitem(MD5, name, md5(content))
        save(data_folder / name, content)
    return data_folder


@pytest.fixture
def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / ARCHIVE
    with tarfile.open(path, "w:gz") as file:
        file.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    for name in BATCHES:
        (folder / name).unlink()
    monkeypatch.setitem(MD5, ARCHIVE, md5(path.read_bytes()))
    return path


def test_batches_are_read_in_order_and_the_last_is_held_out(folder: Path) -> None:
    split, card = data.load(CIFAR10()), data.card(CIFAR10())
    assert (card.train, card.held_out, card.image, card.classes) == (10, 2, (3, 32, 32), 10)
    assert (split.train == IMAGES[:5].reshape(10, 3, 32, 32)).all()
    assert (split.held_out == IMAGES[5]).all()
    assert split.train_labels is not None
    assert split.train_labels.tolist() == np.concatenate(LABELS[:5]).tolist()
    assert split.held_out_labels is not None
    assert split.held_out_labels.tolist() == LABELS[5]


def test_the_archive_is_the_same_data_set(folder: Path, request: pytest.FixtureRequest) -> None:
    unpacked = data.card(CIFAR10())
    request.getfixturevalue("archive")
    data.card.cache_clear()
    assert data.card(CIFAR10()) == unpacked


def test_colour_images_are_enlarged(folder: Path) -> None:
    large = data.load(CIFAR10(size=64)).train
    assert large.shape == (10, 3, 64, 64)
    assert abs(large.mean(axis=(2, 3)) - IMAGES[:5].reshape(10, 3, -1).mean(axis=2)).max() < 3


def test_another_batch_than_the_official_one_is_refused(folder: Path) -> None:
    save(folder / BATCHES[2], CONTENTS[BATCHES[3]])
    with pytest.raises(DataError, match=r"data_batch_3 is damaged.*delete it and run with --download"):
        data.card(CIFAR10())


def test_a_truncated_archive_is_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged"):
        data.card(CIFAR10())


def test_a_batch_can_make_nothing_but_arrays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = pickle.dumps(io.BytesIO)
    monkeypatch.setitem(MD5, BATCHES[0], md5(evil))
    save(folder / BATCHES[0], evil)
    with pytest.raises(DataError, match="BytesIO, which is no image"):
        data.card(CIFAR10())


def test_missing_batches_say_where_they_were_looked_for(data_folder: Path) -> None:
    with pytest.raises(DataError, match=f"not in {data_folder} .*missing: cifar-10.*--download"):
        data.card(CIFAR10())
