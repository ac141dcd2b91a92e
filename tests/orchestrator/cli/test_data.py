"""The command where data, weights or images are not as they should be: one sentence, before anything trains."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator import results
from orchestrator.planning import downloads
from search_spaces.datasets import DatasetSpec
from tests.command import Tombola, write
from tests.toys import TOY_MODELS
from workers import data
from workers.data import DataError, DatasetCard, Split
from workers.data.sources import idx
from workers.measures import pretrained as weights

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty data folder, and none of Debian's."""
    monkeypatch.setenv("TOMBOLA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(idx.fashion_mnist, "_elsewhere", ())
    monkeypatch.delenv("TORCH_HOME", raising=False)
    data.card.cache_clear()
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def complaint(tombola: Tombola, command: str = "run", **changes: Any) -> str:
    """What the command says of a sweep that it cannot run, on one line and having written nothing."""
    ran = tombola(command, write(Path("sweep.yaml"), **changes))
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("tombola: sweep.yaml: ")
    assert ran.err.count("\n") == 1
    assert not Path("tombola-store").exists()
    return ran.err


@pytest.mark.parametrize(
    ("command", "dataset", "remedy"),
    [
        ("run", "mnist", "--download"),
        ("run", "fashion_mnist", "dataset-fashion-mnist, or run with --download"),
        ("run", "cifar10", "--download"),
        ("run", "celeba", "img_align_celeba"),
        ("run", {"name": "image_folder", "folder": "cats"}, "fill the folder"),
        ("plan", {"name": "image_folder", "folder": "cats"}, "fill the folder"),
    ],
)
def test_missing_data_is_told_with_where_and_how(
    tombola: Tombola, folder: Path, command: str, dataset: Any, remedy: str
) -> None:
    told = complaint(tombola, command, datasets=[dataset])
    assert str(folder) in told
    assert remedy in told


def test_corrupt_data_is_told(tombola: Tombola, folder: Path) -> None:
    (folder / "MNIST/raw").mkdir(parents=True)
    for name in idx.MD5["mnist"]:
        (folder / "MNIST/raw" / f"{name}.gz").write_bytes(gzip.compress(b"no images"))
    assert "its checksum is not that of the official file" in complaint(tombola, datasets=["mnist"])


def test_images_that_are_none_are_told(tombola: Tombola, folder: Path) -> None:
    (folder / "cats").mkdir()
    for number in range(30):
        (folder / "cats" / f"{number}.png").write_bytes(b"no image")
    assert "cats" in complaint(tombola, datasets=[{"name": "image_folder", "folder": "cats"}])


def test_images_of_any_size_and_mode_are_made_alike(tombola: Tombola, folder: Path) -> None:
    (folder / "cats").mkdir()
    noise = np.random.default_rng(0)
    for number in range(60):
        pixels = noise.integers(0, 256, (20 + number, 90 - number, 4), dtype=np.uint8)
        Image.fromarray(pixels).convert(("L", "RGB", "RGBA", "P")[number % 4]).save(folder / "cats" / f"{number}.png")
    dataset = {"name": "image_folder", "folder": "cats", "size": 32, "channels": 1}
    sweep = write(Path("sweep.yaml"), datasets=[dataset], sparsities=[0.2], evaluation={"samples": 10})
    assert "1 done" in tombola("run", sweep).out
    assert results.trials("tombola-store")["dataset"].tolist() == ["image_folder"]


def test_a_trial_on_images_that_are_none_fails_in_one_sentence(
    tombola: Tombola, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Floats:
        def card(self, spec: DatasetSpec) -> DatasetCard:
            return toy.card(spec)

        def load(self, spec: DatasetSpec) -> Split:
            return replace(toy.load(spec), train=toy.load(spec).train / 255)

    toy = data.sources["toy_digits"]
    monkeypatch.setitem(data.sources, "toy_digits", Floats())
    data.load.cache_clear()
    ran = tombola("run", write(Path("sweep.yaml")))
    data.load.cache_clear()
    assert ran.code == 1
    assert "data set toy_digits: train is float64 from 0.0 to 1.0; wanted are images as uint8" in ran.out + ran.err
    assert set(results.trials("tombola-store")["status"]) == {"failed"}


def test_wrong_weights_are_told(tombola: Tombola, folder: Path) -> None:
    (folder / INCEPTION).write_bytes(b"something else")
    evaluation = {"distances": {"features": "inception", "samples": 4000, "reference": "train"}}
    told = complaint(tombola, datasets=["digits"], models=[TOY_MODELS["vae"]], evaluation=evaluation)
    assert "is not the file that it is named for" in told


def test_missing_weights_are_told(tombola: Tombola, folder: Path) -> None:
    evaluation = {"distances": {"features": "inception", "samples": 4000, "reference": "train"}}
    told = complaint(tombola, datasets=["digits"], models=[TOY_MODELS["vae"]], evaluation=evaluation)
    assert f"{INCEPTION} is neither in {folder} nor in" in told


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"samples": 101}, "evaluation.samples: 101 is more than the 100 held-out images of toy_digits"),
        (
            {"distances": {"features": "inception"}},
            "inception needs more samples than its 2048 features, but samples is 50",
        ),
        ({"distances": {"features": "vgg"}}, "evaluation.distances.features: input should be 'auto', 'none',"),
        ({"selection": {"every": 1}}, "500 for selection and 50 to report on are more than the 100 held-out images"),
        ({"selection": {"every": 0}}, "evaluation.selection.every: input should be greater than 0"),
    ],
)
def test_measures_that_cannot_be_taken_are_told(tombola: Tombola, evaluation: dict[str, Any], message: str) -> None:
    assert message in complaint(tombola, models=[TOY_MODELS["vae"]], evaluation=evaluation)


def test_what_is_missing_is_downloaded_when_asked_for(tombola: Tombola, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refused(dataset: Any) -> None:
        asked.append(dataset.name)
        raise DataError(f"data set {dataset.name}: the download failed")

    monkeypatch.setattr(downloads, "download", refused)
    ran = tombola("plan", write(Path("sweep.yaml"), datasets=["digits", "mnist"]), "--download")
    assert (ran.code, asked) == (2, ["mnist"])
    assert "the download failed" in ran.err


def test_weights_are_downloaded_when_they_are_named(tombola: Tombola, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(weights, "download", asked.append)
    evaluation = {"distances": {"features": "inception", "samples": 4000, "reference": "train"}}
    changes = {"datasets": ["digits"], "models": [TOY_MODELS["vae"]], "evaluation": evaluation}
    assert "--download" in tombola("run", write(Path("sweep.yaml"), **changes), "--download").err
    assert asked == ["inception"]
