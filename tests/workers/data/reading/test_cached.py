import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from search_spaces.datasets import DatasetSpec, ImageFolder
from tests.workers.data.formats import write_images
from workers.data import DataError, Images, Split
from workers.data.reading.cached import Cached
from workers.data.reading.files import Files
from workers.data.reading.folders import decoded_folder
from workers.data.sources import image_folder

SPEC = ImageFolder(folder="mine", size=32)


class Counting:
    """The decoder of image folders, which counts how often it decodes."""

    def __init__(self) -> None:
        self.decoded = 0

    def files(self, spec: DatasetSpec) -> Files:
        return image_folder.files(spec)

    def words(self, spec: DatasetSpec) -> dict[str, str]:
        return image_folder.words(spec)

    def decode(self, spec: DatasetSpec, files: Files) -> Split:
        self.decoded += 1
        return image_folder.decode(spec, files)


class Overtaken(Counting):
    """While it decodes, another process does so too, and is faster."""

    def decode(self, spec: DatasetSpec, files: Files) -> Split:
        Cached(image_folder).load(spec)
        return super().decode(spec, files)


class Reworded(Counting):
    """It says other words, as after a change of what it does."""

    def words(self, spec: DatasetSpec) -> dict[str, str]:
        return {**super().words(spec), "split": "another"}


@pytest.fixture
def mine(data_folder: Path) -> Path:
    for name in ("apes", "bears"):
        write_images(data_folder / "mine" / name, 10, seed=len(name))
    return data_folder / "mine"


@pytest.fixture
def decoder(mine: Path) -> Counting:
    return Counting()


def same(left: Split, right: Split) -> bool:
    return all((getattr(left, name) == getattr(right, name)).all() for name in Split.__slots__)


def entries() -> list[Path]:
    return list(decoded_folder().iterdir())


def mapped(array: Images | None) -> bool:
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)


def test_images_are_decoded_once(decoder: Counting) -> None:
    card, split = Cached(decoder).card(SPEC), Cached(decoder).load(SPEC)
    assert Cached(decoder).card(SPEC) == card
    assert same(split, Cached(decoder).load(SPEC))
    assert same(split, image_folder.decode(SPEC, image_folder.files(SPEC)))
    assert decoder.decoded == 1


def test_arrays_are_mapped_and_cannot_be_written(decoder: Counting) -> None:
    split = Cached(decoder).load(SPEC)
    for array in (split.train, split.held_out, split.train_labels, split.held_out_labels):
        assert mapped(array)
        assert array is not None
        assert not array.flags.writeable


def test_arrays_can_be_shared_between_processes_without_a_copy(decoder: Counting) -> None:
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps(Cached(decoder).load(SPEC), protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 4


@pytest.mark.parametrize("name", ["train.npy", "held_out_labels.npy", "card.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "altered"])
def test_a_damaged_cache_is_decoded_again(
    decoder: Counting, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    whole = Cached(decoder).load(SPEC)
    path = entries()[0] / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        altered = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"empty": b"", "truncated": content[:-1], "altered": altered}[damage])
    assert same(whole, Cached(decoder).load(SPEC))
    assert decoder.decoded == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert same(whole, Cached(decoder).load(SPEC))
    assert decoder.decoded == 2


def test_a_changed_file_is_decoded_again_and_another_data_set(decoder: Counting, mine: Path) -> None:
    before = Cached(decoder).card(SPEC)
    write_images(mine / "apes", 1, seed=100)
    assert Cached(decoder).card(SPEC).fingerprint != before.fingerprint
    assert decoder.decoded == 2


def test_a_touched_file_is_decoded_again_and_the_same_data_set(decoder: Counting, mine: Path) -> None:
    before = Cached(decoder).card(SPEC)
    os.utime(mine / "apes" / "000.png", (0, 0))
    assert Cached(decoder).card(SPEC) == before
    assert decoder.decoded == 2


def test_another_wording_is_another_data_set(decoder: Counting) -> None:
    assert Cached(decoder).card(SPEC).fingerprint != Cached(Reworded()).card(SPEC).fingerprint
    assert len(entries()) == 2


def test_other_labels_leave_the_fingerprint_of_the_images(decoder: Counting, mine: Path) -> None:
    before = Cached(decoder).card(SPEC)
    (mine / "apes" / "009.png").rename(mine / "bears" / "!.png")  # sorted by path it is the tenth as before
    after = Cached(decoder).card(SPEC)
    assert after.fingerprint == before.fingerprint
    assert after.labels != before.labels


def test_what_another_process_has_decoded_meanwhile_is_adopted(mine: Path) -> None:
    split = Cached(Overtaken()).load(SPEC)
    assert same(split, image_folder.decode(SPEC, image_folder.files(SPEC)))
    assert [path.name.startswith(".") for path in entries()] == [False]


def test_the_cache_is_plain_arrays_and_a_card(decoder: Counting) -> None:
    card = Cached(decoder).card(SPEC)
    (entry,) = entries()
    assert json.loads((entry / "card.json").read_text())["card"]["fingerprint"] == card.fingerprint
    assert np.load(entry / "train.npy").dtype == np.uint8


def test_a_cache_that_cannot_be_written_is_reported(decoder: Counting, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=f"cannot be decoded into {decoded_folder()}"):
        Cached(decoder).card(SPEC)
