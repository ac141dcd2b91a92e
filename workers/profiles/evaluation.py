"""The time that measuring takes on this machine: each part of it, timed on a few images."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch

from search_spaces.datasets import DatasetSpec, FashionMNIST
from search_spaces.trial import Distances, Evaluation, Trial
from workers import data
from workers.data import DatasetCard
from workers.evaluation import classifiers, evaluate, instruments
from workers.evaluation.distances import frechet_distance, nearness
from workers.evaluation.extractors import EffNet, Extractor, Inception, state_dict_of
from workers.evaluation.feature_set import FeatureSet, feature_set
from workers.evaluation.samples import BATCH, samples
from workers.measures import pretrained as weights
from workers.measures.feature_spaces import SPACES
from workers.models import Family
from workers.models.families import GAN, VAE
from workers.randomness import generator

_IMAGES = 10
"""Images on which large networks are timed."""

_COMPARED = 500
"""Images in each of the two feature sets that are compared."""


def measuring_seconds(trial: Trial, family: Family, place: torch.device) -> dict[str, Any]:
    """The seconds of each part of measuring a network, by the field names of `Profile`.

    Parts that cannot be timed here are left out. The number of images that a trial measures makes no difference.
    `family` is the trial's network, with any weights, on the device `place`.
    """
    card = data.card_or_nominal(trial.dataset)
    images = torch.zeros(BATCH, *card.image, dtype=torch.uint8, device=place)
    plain = Evaluation(samples=BATCH, grid=0, distances=Distances(features="none"))
    seconds: dict[str, Any] = {"image_seconds": _timed(partial(evaluate, family, images, plain), place) / BATCH}
    if isinstance(family, VAE | GAN):
        made = partial(_make, family, place)
        seconds |= {"sample_seconds": _timed(made, place) / BATCH, "generators": 2 if family.copies else 1}
    distances = trial.evaluation.distances
    if trial.model.generates and distances.features != "none":
        seconds |= _of_features(distances, card.image, place)
    fits = {"fashion": _fitting("fashion", FashionMNIST(), place)} if distances.features == "fashion" else {}
    if trial.evaluation.downstream and trial.model.reconstructs:
        fits["resnet18"] = _fitting("resnet18", data.in_full(trial.dataset), place)
        seconds["judge_seconds"] = _judging(card, place)
    return {**seconds, "fit_seconds": fits}


def _make(family: VAE | GAN, place: torch.device) -> None:
    family.networks.eval()
    with torch.no_grad():
        for _ in samples(family, BATCH, "timing", place):
            pass


@lru_cache
def _of_features(distances: Distances, image: tuple[int, int, int], place: torch.device) -> dict[str, float]:
    """The seconds of computing the features of an image, and of comparing feature sets."""
    assert distances.features != "none"
    assert distances.features != "auto"
    size = SPACES[distances.features].dimensions
    one, other = _cloud(_COMPARED, size, "one"), _cloud(_COMPARED, size, "other")
    seconds = {
        "frechet_seconds": _timed(lambda: frechet_distance(one, other), place),
        "pair_seconds": _timed(lambda: nearness(one, other), place) / _COMPARED**2,
    }
    extractor = _extractor(distances, place)
    if extractor is not None:
        seen = torch.zeros(_IMAGES if place.type == "cpu" else BATCH, *image, dtype=torch.uint8, device=place)
        seconds["feature_seconds"] = _timed(lambda: feature_set([seen], extractor), place) / len(seen)
    return seconds


def _extractor(distances: Distances, place: torch.device) -> Extractor | None:
    """The network that computes features, or one that takes as long; None if its weights are not there yet."""
    if distances.features == "fashion":
        card = data.card_or_nominal(FashionMNIST())
        return instruments.Penultimate(classifiers.untrained("fashion", card, place).eval())
    assert distances.features in ("inception", "effnet")
    found = weights.find(distances.features)
    if found is None:
        return None
    state = state_dict_of(found.path.read_bytes())
    if distances.features == "effnet":
        return EffNet(state, place)
    return Inception(state, place, SPACES["inception"].layer)


def _cloud(count: int, size: int, purpose: str) -> FeatureSet:
    """Random features that take as long to compare as those of images; their covariance has full rank."""
    noise = generator(0, f"timing:{purpose}")
    values, spread = torch.randn(count, size, generator=noise), torch.randn(size, 2 * size, generator=noise).double()
    return FeatureSet(values, values.double().mean(0), spread @ spread.T / (2 * size))


@lru_cache
def _fitting(network: str, dataset: DatasetSpec, place: torch.device) -> float:
    """The seconds of training a classifier: those of its second step, times the number of steps."""
    card, schooling = data.card_or_nominal(dataset), classifiers.SCHOOLINGS[network]
    images = torch.zeros(schooling.batch, *card.image, dtype=torch.uint8, device=place)
    labels = torch.zeros(schooling.batch, dtype=torch.long, device=place)
    training = classifiers.fit(network, classifiers.untrained(network, card, place), images, labels)
    return schooling.epochs * max(1, card.train // schooling.batch) * _timed(lambda: next(training), place)


@lru_cache
def _judging(card: DatasetCard, place: torch.device) -> float:
    """The seconds of classifying an image and its reconstruction."""
    judge = classifiers.untrained("resnet18", card, place).eval()
    images = torch.zeros(_IMAGES, *card.image, device=place)

    def classify() -> None:
        with torch.no_grad():
            judge(images)

    return 2 * _timed(classify, place) / _IMAGES


def _timed(work: Callable[[], object], place: torch.device) -> float:
    """The seconds of the second run of `work`. The first also does what is needed only once, such as allocation."""
    work()
    _finish(place)
    began = time.perf_counter()
    work()
    _finish(place)
    return time.perf_counter() - began


def _finish(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
