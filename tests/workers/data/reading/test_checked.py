"""What a plugin's source gives is trained on only where it is what it should be."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.toys import ToyDigits
from tests.workers.data.formats import noise
from workers import data
from workers.data import DataError, DatasetCard, Split

CARD = DatasetCard("digest", (3, 8, 8), 20, 10, classes=4, labels="digest")
SPLIT = Split(noise(20, 3, 8, 8), noise(10, 3, 8, 8, seed=1), np.uint8(np.arange(20) % 4), np.uint8(np.arange(10) % 4))
IMAGES = noise(20, 3, 8, 8)


class Given:
    """A source that gives whatever it is told to."""

    def __init__(self, card: Any = CARD, split: Any = SPLIT) -> None:
        self._card, self._split = card, split

    def card(self, spec: object) -> DatasetCard:
        return self._card

    def load(self, spec: object) -> Split:
        return self._split


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda **given: monkeypatch.setitem(data.sources, "toy_digits", Given(**given))


def refusal(read: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(ToyDigits())
    told = str(caught.value)
    assert told.startswith("data set toy_digits: ")
    assert "wanted" in told
    assert "\n" not in told
    return told


def test_right_ones_are_taken_as_they_are(give: Any) -> None:
    give()
    assert data.card(ToyDigits()) == CARD
    assert data.load(ToyDigits()).train is SPLIT.train


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (IMAGES / 255, "train is float64 from 0.0 to 1.0; wanted are ...uint8 ...(255 * images).round().astype"),
        (np.float16(IMAGES), "train is float16 from 0.0 to 255.0"),
        (np.full((20, 3, 8, 8), np.nan), "train is float64 from nan to nan"),
        (IMAGES > 128, "train is bool...(255 * images).astype(np.uint8)"),
        (np.uint16(IMAGES) * 257, "train is uint16 from 0 to 65535...range 0 to 255 first"),
        (np.int64(IMAGES), "train is int64"),
        (IMAGES.astype(object), "train is object"),
        (IMAGES.view("S1"), "train is |S1"),
        ((IMAGES / 255).astype(np.uint8), "no value in train is above 1"),
        (IMAGES[:, 0], "train is of shape (20, 8, 8), but its card says (20, 3, 8, 8)"),
        (IMAGES.transpose(0, 2, 3, 1), "train is of shape (20, 8, 8, 3), but its card says (20, 3, 8, 8)"),
        (noise(20, 3, 8, 9), "of shape (20, 3, 8, 9)"),
        (np.uint8(7), "train is of type uint8"),
        (np.array(7, np.uint8), "of shape ()"),
        (IMAGES[:0], "of shape (0, 3, 8, 8)"),
        (IMAGES[:19], "of shape (19, 3, 8, 8)"),
        (torch.from_numpy(IMAGES), "train is of type Tensor; ...tensor.cpu().numpy()"),
        (torch.empty(20, 3, 8, 8, device="meta"), "train is of type Tensor"),
        (np.ma.masked_array(IMAGES), "train is of type MaskedArray"),
        (IMAGES.tolist(), "train is of type list"),
        (None, "train is of type NoneType"),
    ],
)
def test_images_that_are_none_are_refused(give: Any, train: Any, told: str) -> None:
    give(split=replace(SPLIT, train=train))
    pattern = ".*".join(map(re.escape, told.split("...")))
    assert re.search(pattern, refusal(data.load))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"held_out": SPLIT.held_out[:9]}, "held_out is of shape (9, 3, 8, 8), but its card says (10, 3, 8, 8)"),
        ({"held_out": SPLIT.held_out / 255}, "held_out is float64"),
        ({"train_labels": SPLIT.train_labels[:19]}, "train_labels are uint8 of shape (19,); wanted are 20 numbers"),
        ({"train_labels": np.arange(20)}, "train_labels are int64"),
        ({"train_labels": [0] * 20}, "train_labels is of type list"),
        ({"held_out_labels": np.arange(10, dtype=np.uint8)}, "held_out_labels go up to 9, but its card says 4 classes"),
        ({"held_out_labels": None}, "held_out_labels are missing, but its card says 4 classes"),
    ],
)
def test_what_the_card_does_not_say_is_refused(give: Any, change: dict[str, Any], told: str) -> None:
    give(split=replace(SPLIT, **change))
    assert told in refusal(data.load)


def test_labels_of_no_class_are_refused(give: Any) -> None:
    give(card=replace(CARD, classes=0, labels=""))
    assert "train_labels are there, but its card says 0 classes" in refusal(data.load)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": ""},
        {"fingerprint": b"digest"},
        {"fingerprint": "nominal-digest"},
        {"image": (3, 8)},
        {"image": [3, 8, 8]},
        {"image": (3, 8, 8.0)},
        {"image": (3, 0, 8)},
        {"image": (5, 8, 8)},
        {"train": 0},
        {"train": 20.0},
        {"train": True},
        {"held_out": -1},
        {"held_out": 0},
        {"classes": -1},
        {"classes": 257},
        {"classes": 0},
        {"labels": ""},
        {"labels": None},
    ],
    ids=str,
)
def test_a_card_that_is_none_is_refused_by_the_field(give: Any, change: dict[str, Any]) -> None:
    give(card=replace(CARD, **change))
    told = refusal(data.card)
    assert any(f"{field} of its card is " in told for field in (*change, "labels"))


@pytest.mark.parametrize("given", [{"card": ("digest", (3, 8, 8), 20, 10)}, {"split": (IMAGES, IMAGES)}])
def test_other_things_than_cards_and_splits_are_refused(give: Any, given: dict[str, Any]) -> None:
    give(**given)
    assert "tuple" in refusal(data.load)


def test_a_data_set_without_a_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(data.sources, "toy_digits")
    assert "sources['toy_digits'] = ..." in refusal(data.card)


@pytest.mark.parametrize("view", [lambda images: images[::-1].copy()[::-1], np.asfortranarray, "memory map"])
def test_arrays_of_any_layout_are_made_plain_ones(give: Any, view: Any, tmp_path: Path) -> None:
    if view == "memory map":
        np.save(tmp_path / "train.npy", IMAGES)
        images = np.load(tmp_path / "train.npy", mmap_mode="r")
    else:
        images = view(IMAGES)
    give(split=replace(SPLIT, train=images))
    train = data.load(ToyDigits()).train
    assert type(train) is np.ndarray
    assert train.flags.c_contiguous
    assert (train == IMAGES).all()


def test_held_out_images_that_were_cast_from_0_to_1_are_refused(give: Any) -> None:
    give(split=replace(SPLIT, held_out=SPLIT.held_out // 255))
    assert "no value in held_out is above 1" in refusal(data.load)


def test_an_error_of_a_source_is_told_of_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.sources, "toy_digits", Given)  # the class in place of an instance
    data.card.cache_clear()
    with pytest.raises(DataError, match="data set toy_digits: its card cannot be made: TypeError: "):
        data.card(ToyDigits())
    data.card.cache_clear()
