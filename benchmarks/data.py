"""The time to take a batch of images from memory, and the images a second of each feature extractor.

A batch is that of the training loop: 100 images of Fashion-MNIST, picked in random order, as floats in [-1, 1].
Goal: 0.3 ms. Extractors get 32x32 images and one thread; mean and covariance are included. Inception has random
weights if the real ones are missing, which takes the same time.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from search_spaces.datasets import DatasetSpec, Digits, FashionMNIST
from search_spaces.trial import Resources
from workers import data, device
from workers.evaluation.classifiers import untrained
from workers.evaluation.extractors import EffNet, Extractor, Inception, state_dict_of
from workers.evaluation.feature_set import feature_set
from workers.evaluation.instruments import Penultimate
from workers.evaluation.samples import BATCH
from workers.measures import pretrained as weights
from workers.models.images import normalised

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works, on digits."""

DATASET: DatasetSpec = Digits() if SMOKE else FashionMNIST()
ROUNDS = 2 if SMOKE else 300
SEEN = 2 if SMOKE else BATCH
"""Images in a batch for an extractor."""


def medians(work: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """The median, lower quartile and upper quartile of the seconds that `work` takes."""
    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    low, middle, high = statistics.quantiles(seconds, n=4)
    return middle, low, high


def batches() -> Table:
    images = torch.from_numpy(data.load(DATASET).train.copy())
    order = iter(torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(100))
    middle, low, high = medians(lambda: normalised(images[next(order)]), ROUNDS)
    table = Table("a batch of 100 images", "median ms", "quartiles", "goal", box=None)
    table.add_row("1x32x32", f"{1e3 * middle:.3f}", f"{1e3 * low:.3f} to {1e3 * high:.3f}", "0.3")
    return table


def extractors() -> dict[str, Extractor]:
    place, card = torch.device("cpu"), data.card(DATASET)
    effnet = state_dict_of(weights.needed("effnet").path.read_bytes())
    return {
        "fashion": Penultimate(untrained("fashion", card, place).eval()),
        "effnet": EffNet(effnet, place),
        "inception": Inception(_inception(), place),
    }


def _inception() -> dict[str, torch.Tensor]:
    found = weights.find("inception")
    if found:
        return state_dict_of(found.path.read_bytes())

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict: object) -> None:
            pass

    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    return dict(Unloaded("inception", ["2048"], feature_extractor_weights_path=file).state_dict())


def features() -> Table:
    table = Table("extractor", "images a second", "quartiles", "features", box=None)
    images = torch.from_numpy(data.load(DATASET).held_out[:SEEN].copy())
    for name, extractor in extractors().items():
        rounds = min(ROUNDS, 50 if name == "fashion" else 5)
        middle, low, high = (SEEN / s for s in medians(partial(feature_set, [images], extractor), rounds))
        dimensions = str(feature_set([images], extractor).values.shape[1])
        table.add_row(name, f"{middle:,.1f}", f"{high:,.1f} to {low:,.1f}", dimensions)
    return table


def main() -> None:
    device.prepare(Resources())
    console = Console(width=100)
    console.print(batches())
    console.print(features())


if __name__ == "__main__":
    main()
