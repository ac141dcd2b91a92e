"""Check that distances rise when real images are spoilt, and fall while a DCGAN trains."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from orchestrator import results
from search_spaces.datasets import DatasetSpec, FashionMNIST
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers import data
from workers.data import Split
from workers.evaluation import classifiers, instruments
from workers.evaluation.distances import distances
from workers.evaluation.feature_set import feature_set
from workers.evaluation.samples import BATCH
from workers.randomness import generator
from workers.settling.distances import Choices
from workers.store.backends import Store, open_store
from workers.trial import run_trial

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works, on few images and with a poorly trained classifier."""

COUNT = 100 if SMOKE else 5000
METRICS = ("frechet_distance", "kernel_distance", "precision", "recall")
CPU = torch.device("cpu")


def dcgan(epochs: int, fraction: float, every: int) -> Trial:
    sweep = {
        "name": "distances",
        "models": [{"name": "dcgan", "width": 16, "latent": 16}],
        "datasets": [{"name": "fashion_mnist", "fraction": fraction}],
        "methods": ["dense"],
        "seeds": 1,
        "epochs": epochs,
        "recipe": {"lr": 5e-4, "betas": [0.5, 0.999]},
        "evaluation": {
            "samples": COUNT,
            "distances": {"features": "fashion"},
            "selection": {"every": every, "samples": COUNT},
        },
    }
    (trial,) = Sweep.model_validate(sweep).trials()
    return trial


def some(dataset: DatasetSpec) -> Split:
    """The images of a data set: all of them, or few if SMOKE."""
    split = data.load(dataset)
    if not SMOKE:
        return split
    assert split.train_labels is not None
    assert split.held_out_labels is not None
    labels = (split.train_labels[:1000], split.held_out_labels[: 2 * COUNT])
    return Split(split.train[:1000], split.held_out[: 2 * COUNT], *labels)


def noisy(images: Tensor, strength: float) -> Tensor:
    noise = torch.randn(images.shape, generator=generator(0, "noise"))
    return (images + 255 * strength * noise).clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, sigma: float) -> Tensor:
    return gaussian_blur(images, [15, 15], [sigma, sigma])


def spoilt(store: Store, trial: Trial) -> Table:
    """The distances of one half of the held-out images, spoilt in several ways, from the other half."""
    split = some(FashionMNIST())
    assert split.held_out_labels is not None
    images, labels = torch.from_numpy(split.held_out.copy()), torch.from_numpy(split.held_out_labels.copy())
    mine, others, classes = images[:COUNT], images[COUNT:], labels[:COUNT]
    ways: dict[str, Callable[[], Tensor]] = {"as they are": lambda: mine}
    ways |= {f"noise of {s:g} of the range": partial(noisy, mine, s) for s in (0.05, 0.1, 0.2, 0.4)}
    ways |= {f"blur, sigma {s:g} pixels": partial(blurred, mine, s) for s in (0.5, 1.0, 2.0, 4.0)}
    ways |= {f"{n} of 10 classes dropped": partial(mine.__getitem__, classes >= n) for n in (1, 3, 5, 7)}
    (settled,) = Choices(store).settle([trial])
    extractor = instruments.network(store, settled.evaluation.distances, CPU).extractor
    real = feature_set(others.split(BATCH), extractor)
    table = Table("held-out images", "images", *METRICS, box=None)
    for way, spoil in ways.items():
        spoiled = spoil()
        found = distances(feature_set(spoiled.split(BATCH), extractor), real)
        table.add_row(way, f"{len(spoiled):,}", *(f"{found[metric]:.4g}" for metric in METRICS))
    return table


def along_training(store: Store) -> Table:
    """The distances of a DCGAN's samples at each measured epoch."""
    scores = results.scores(store.uri)
    chosen = scores[scores["images"] == "selection"].pivot_table(index="epoch", columns="metric", values="value")
    table = Table("epoch", "samples", *METRICS, box=None)
    for epoch, row in chosen.iterrows():
        table.add_row(str(epoch), f"{COUNT:,}", *(f"{row[metric]:.4g}" for metric in METRICS))
    return table


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=1 if SMOKE else 10)
    options.add_argument("--fraction", type=float, default=0.2, help="of Fashion-MNIST, to train on")
    options.add_argument("--smoke", action="store_true", help="only see that this runs, on few images")
    options.add_argument("--every", type=int, default=1, help="epochs between measurements")
    asked = options.parse_args()
    if SMOKE:
        little = replace(classifiers.SCHOOLINGS["fashion"], epochs=1, accuracy=0.0)
        classifiers.SCHOOLINGS = {"fashion": little}
    console = Console(width=110)
    with TemporaryDirectory() as folder:
        store, trial = open_store(folder), dcgan(asked.epochs, asked.fraction, asked.every)
        assert run_trial(trial, store, load=some) == "done"
        console.print(along_training(store))
        console.print(spoilt(store, trial))


if __name__ == "__main__":
    main()
