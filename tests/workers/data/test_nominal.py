"""Cards of data sets that are missing, for planning."""

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.datasets import CIFAR10, MNIST, CelebA, DatasetSpec, Emoji, FashionMNIST, ImageFolder
from workers import data
from workers.data import DataError
from workers.data.sources import emoji, idx
from workers.data.sources.idx import DEBIAN

debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")


@debian
@pytest.mark.parametrize("spec", [FashionMNIST(), FashionMNIST(fraction=0.1)])
def test_a_nominal_card_says_what_the_real_one_would(spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    real = data.card_or_nominal(spec)
    assert not real.nominal
    data.card.cache_clear()
    monkeypatch.setattr(idx.fashion_mnist, "_elsewhere", ())
    nominal = data.card_or_nominal(spec)
    assert nominal.nominal
    assert nominal.labels != real.labels
    assert replace(nominal, fingerprint=real.fingerprint, labels=real.labels) == real


@pytest.mark.parametrize(
    ("spec", "image", "train", "held_out", "classes"),
    [
        (MNIST(size=64), (1, 64, 64), 60_000, 10_000, 10),
        (CIFAR10(), (3, 32, 32), 50_000, 10_000, 10),
        (CIFAR10(fraction=0.5), (3, 32, 32), 25_000, 10_000, 10),
        (CelebA(crop=140), (3, 32, 32), 162_770, 19_962, 0),
    ],
)
def test_sizes_are_those_of_the_definition(
    spec: DatasetSpec, image: tuple[int, int, int], train: int, held_out: int, classes: int
) -> None:
    card = data.card_or_nominal(spec)
    assert (card.image, card.train, card.held_out, card.classes) == (image, train, held_out, classes)


def test_every_data_set_has_a_nominal_card_of_its_own() -> None:
    specs = [MNIST(), MNIST(size=64), MNIST(fraction=0.5), CIFAR10(), CelebA(), CelebA(crop=108)]
    assert len({data.card_or_nominal(spec).fingerprint for spec in specs}) == len(specs)


@pytest.mark.parametrize("spec", [ImageFolder(folder="cats"), Emoji()])
def test_what_only_files_can_tell_stays_missing(spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji, "DEBIAN", Path("nowhere"))
    with pytest.raises(DataError):
        data.card_or_nominal(spec)


def test_damaged_is_not_missing(data_folder: Path) -> None:
    folder = data_folder / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in idx.MD5["mnist"]:
        (folder / name).write_bytes(b"no images")
    with pytest.raises(DataError, match="checksum"):
        data.card_or_nominal(MNIST())


def test_whoever_does_not_plan_is_told_that_data_is_missing() -> None:
    assert data.card_or_nominal(CIFAR10()).nominal
    with pytest.raises(DataError, match="--download"):
        data.card(CIFAR10())
