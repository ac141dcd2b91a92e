from itertools import pairwise

import numpy as np
import pytest

from search_spaces.datasets import CelebA, DatasetSpec, Digits, Emoji
from tests.toys import ToyDigits
from workers import data
from workers.data import DatasetCard, Split


def test_a_fraction_is_a_prefix_of_a_larger_one() -> None:
    splits = [data.load(Digits(fraction=fraction)) for fraction in (0.1, 0.25, None)]
    assert [len(split.train) for split in splits] == [400, 1000, 4000]
    for few, more in pairwise(splits):
        assert few.train_labels is not None
        assert more.train_labels is not None
        assert (few.train == more.train[: len(few.train)]).all()
        assert (few.train_labels == more.train_labels[: len(few.train_labels)]).all()
        assert (few.held_out == more.held_out).all()


def test_a_fraction_is_a_data_set_of_its_own() -> None:
    specs = [Digits(), Digits(fraction=0.5), Digits(fraction=0.25)]
    assert len({data.card(spec).fingerprint for spec in specs}) == 3
    assert [data.card(spec).train for spec in specs] == [4000, 2000, 1000]
    assert {data.card(spec).held_out for spec in specs} == {1000}


def test_at_least_one_image_is_left() -> None:
    assert data.card(Digits(fraction=1e-9)).train == len(data.load(Digits(fraction=1e-9)).train) == 1


def test_data_sets_of_plugins_have_fractions_too() -> None:
    assert data.card(ToyDigits(fraction=0.5)).train == len(data.load(ToyDigits(fraction=0.5)).train) == 60
    assert len(data.load(ToyDigits(fraction=0.5)).train_labels) == 60


def test_all_is_no_fraction() -> None:
    assert Digits(fraction=1) == Digits()
    assert Digits(fraction=1).model_dump() == Digits().model_dump()


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, True, "half"])
def test_a_fraction_lies_above_nothing_and_up_to_all(fraction: object) -> None:
    with pytest.raises(ValueError, match="fraction"):
        Digits.model_validate({"fraction": fraction})


@pytest.mark.parametrize("spec", [Emoji(), CelebA(crop=148)])
def test_a_fraction_stays_out_of_what_is_decoded(spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Source:
        def card(self, spec: DatasetSpec) -> data.DatasetCard:
            return DatasetCard("greys", (1, 2, 2), 10, 2)

        def load(self, spec: DatasetSpec) -> data.Split:
            asked.append(spec)
            return data.Split(np.full((10, 1, 2, 2), 128, np.uint8), np.full((2, 1, 2, 2), 128, np.uint8))

    monkeypatch.setitem(data.sources, spec.name, Source())
    sizes = [len(data.load(spec.model_copy(update={"fraction": fraction})).train) for fraction in (0.2, 0.7)]
    assert sizes == [2, 7]
    assert asked == [spec]


def test_labels_stay_with_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbered:
        def card(self, spec: DatasetSpec) -> DatasetCard:
            return DatasetCard("numbered", (1, 2, 2), 100, 100, classes=100, labels="numbered")

        def load(self, spec: DatasetSpec) -> Split:
            numbers = np.arange(100, dtype=np.uint8)
            images = np.broadcast_to(numbers[:, None, None, None], (100, 1, 2, 2))
            return Split(images, images, numbers, numbers)

    monkeypatch.setitem(data.sources, "toy_digits", Numbered())
    split = data.load.__wrapped__(ToyDigits(fraction=0.31))
    assert split.train_labels.tolist() == split.train[:, 0, 0, 0].tolist() == list(range(31))
