import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.datasets import MNIST, FashionMNIST
from tests.workers.data.formats import idx, md5, noise, save, write_idx
from workers import data
from workers.data import DataError
from workers.data.sources.idx import DEBIAN, MD5, Idx, fashion_mnist

ARRAYS = {
    "train-images-idx3-ubyte": noise(6, 28, 28),
    "train-labels-idx1-ubyte": np.arange(6, dtype=np.uint8),
    "t10k-images-idx3-ubyte": noise(3, 28, 28, seed=1),
    "t10k-labels-idx1-ubyte": np.array([9, 8, 7], np.uint8),
}
CONTENTS = {name: idx(array) for name, array in ARRAYS.items()}

debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")


@pytest.fixture
def raw(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setitem(MD5, name, {name: md5(content) for name, content in CONTENTS.items()})
    return data_folder / "MNIST" / "raw"


@pytest.mark.parametrize("packed", [True, False])
def test_the_files_of_torchvision_are_read_packed_or_not(raw: Path, packed: bool) -> None:
    write_idx(raw, CONTENTS, packed=packed)
    split, card = data.load(MNIST()), data.card(MNIST())
    assert (card.train, card.held_out, card.image, card.classes) == (6, 3, (1, 32, 32), 10)
    assert (split.train[:, 0, 2:-2, 2:-2] == ARRAYS["train-images-idx3-ubyte"]).all()
    assert split.held_out.sum() == ARRAYS["t10k-images-idx3-ubyte"].sum()
    assert (split.train_labels == ARRAYS["train-labels-idx1-ubyte"]).all()
    assert (split.held_out_labels == ARRAYS["t10k-labels-idx1-ubyte"]).all()


def test_packed_or_not_is_the_same_data_set(raw: Path) -> None:
    write_idx(raw, CONTENTS, packed=True)
    packed = data.card(MNIST())
    for name in CONTENTS:
        (raw / f"{name}.gz").unlink()
    write_idx(raw, CONTENTS, packed=False)
    data.card.cache_clear()
    assert data.card(MNIST()) == packed


def test_debians_folder_will_do_as_well(raw: Path, tmp_path: Path) -> None:
    write_idx(tmp_path / "debian", CONTENTS, packed=True)
    source = Idx("fashion_mnist", "FashionMNIST/raw", (tmp_path / "debian",), "install it")
    files = source.files(FashionMNIST())
    assert files.root == tmp_path / "debian"
    assert len(source.decode(FashionMNIST(), files).train) == 6


def test_twice_the_size_is_the_padded_image_enlarged(raw: Path) -> None:
    write_idx(raw, CONTENTS, packed=False)
    small, large = data.load(MNIST()).train, data.load(MNIST(size=64)).train
    assert large.shape == (6, 1, 64, 64)
    assert (large[5, 0] == Image.fromarray(small[5, 0]).resize((64, 64), Image.Resampling.BILINEAR)).all()
    assert data.card(MNIST()).fingerprint != data.card(MNIST(size=64)).fingerprint


@pytest.mark.parametrize("packed", [True, False])
def test_another_file_than_the_official_one_is_refused(raw: Path, packed: bool) -> None:
    other = {**CONTENTS, "t10k-labels-idx1-ubyte": idx(np.zeros(3, np.uint8))}
    write_idx(raw, other, packed=packed)
    with pytest.raises(DataError, match=r"raw/t10k-labels-idx1-ubyte.* is damaged.*delete it and run with --download"):
        data.card(MNIST())


def test_a_truncated_file_is_refused(raw: Path) -> None:
    write_idx(raw, CONTENTS, packed=True)
    save(raw / "train-images-idx3-ubyte.gz", gzip.compress(CONTENTS["train-images-idx3-ubyte"])[:-100])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        data.card(MNIST())


@pytest.mark.parametrize(
    ("names", "there", "missing"),
    [
        (
            [],
            "no such folder; in {data}: nothing",
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3",
        ),
        (["mnist.npz"], "no such folder; in {data}: mnist.npz", "train-images-idx3-ubyte, "),
        (["MNIST/raw/.hidden"], "an empty folder", "train-images-idx3-ubyte, "),
        (["MNIST/raw/train-images.idx3-ubyte"], "there: train-images.idx3-ubyte", "train-images-idx3-ubyte, "),
        (
            [f"MNIST/raw/{name}.gz" for name in list(CONTENTS)[:3]],
            "there: t10k-images-idx3-ubyte.gz, t",
            "t10k-labels-idx1-ubyte.gz;",
        ),
        (
            [f"MNIST/raw/{number}" for number in range(9)],
            "there: 0, 1, 2, 3, 4, 5 and 3 more",
            "train-images-idx3-ubyte, ",
        ),
        (["MNIST/raw/caf\udce9\n"], r"there: caf\udce9\n", "train-images-idx3-ubyte, "),
    ],
)
def test_missing_files_say_what_is_there_and_what_is_missing(
    raw: Path, data_folder: Path, names: list[str], there: str, missing: str
) -> None:
    for name in names:
        save(data_folder / name, b"")
    with pytest.raises(DataError) as caught:
        data.card(MNIST())
    told = str(caught.value)
    assert f"not in {raw} ({there.format(data=data_folder)}" in told
    assert f"missing: {missing}" in told
    assert told.endswith("; run with --download")


def test_every_place_that_was_looked_in_is_named(tmp_path: Path) -> None:
    source = Idx("fashion_mnist", "FashionMNIST/raw", (tmp_path / "debian",), "install it")
    with pytest.raises(DataError, match=rf"nothing\) or {tmp_path}/debian \(no such folder\), or not all of them"):
        source.files(FashionMNIST())


@debian
def test_fashion_mnist_is_seventy_thousand_pieces_of_clothing() -> None:
    split, card = data.load(FashionMNIST()), data.card(FashionMNIST())
    assert (card.train, card.held_out, card.image, card.classes) == (60_000, 10_000, (1, 32, 32), 10)
    assert split.train_labels is not None
    assert split.held_out_labels is not None
    assert np.bincount(split.train_labels).tolist() == [6_000] * 10
    assert np.bincount(split.held_out_labels).tolist() == [1_000] * 10
    trousers, coats = (split.train[split.train_labels == label].mean() for label in (1, 4))
    assert trousers < coats


@debian
def test_debians_fashion_mnist_unpacked_is_the_same_data_set(data_folder: Path) -> None:
    packed = data.card(FashionMNIST())
    for name in MD5["fashion_mnist"]:
        save(data_folder / "FashionMNIST" / "raw" / name, gzip.decompress((DEBIAN / f"{name}.gz").read_bytes()))
    data.card.cache_clear()
    assert fashion_mnist.files(FashionMNIST()).root == data_folder / "FashionMNIST" / "raw"
    assert data.card(FashionMNIST()) == packed
