"""Measuring profiles, in a few steps of training."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import TypeVar

import torch

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import TombolaError
from search_spaces.models import ModelSpec
from search_spaces.trial import Trial
from workers import data, device, names
from workers.costs import cost
from workers.models import Family, build, initialise, materialise
from workers.objects import Objects
from workers.profiles import UNKNOWN, Profile, known_profile, profile_key
from workers.store import Store
from workers.training import optimizers_of, train

_STEPS, _SECONDS = 3, 0.5
_log = logging.getLogger("tombola")


def profile_or_unknown(trial: Trial, store: Store) -> Profile:
    """The profile of a trial's model, or UNKNOWN with a warning if it cannot be trained: its trials will say why.

    Raises:
        TombolaError: if the model cannot be built for such images, the device is not there, or nor is the store.
    """
    return _or(UNKNOWN, trial.model, "measured", lambda: profile(trial, store))


def sizes_or_unknown(trial: Trial) -> Profile:
    """The profile of a trial's model as far as it is known without training: it takes NaN seconds.

    Raises:
        TombolaError: if the model cannot be built for such images.
    """
    return _or(UNKNOWN, trial.model, "built", lambda: _sizes(trial))


@cache
def epoch_flops(model: ModelSpec, dataset: DatasetSpec, batch: int) -> float:
    """FLOPs of an epoch of a model, or 0 with a warning if its steps cannot be followed.

    Raises:
        TombolaError: if the model cannot be built for such images.
    """
    card = data.card_or_nominal(dataset)
    return _or(0.0, model, "followed", lambda: cost(model, card.image, batch).step * (card.train // batch))


@cache
def not_prunable(model: ModelSpec, dataset: DatasetSpec) -> list[str]:
    """The kernels of a model that no mask can be for, by name; none, with a warning, if it cannot be built.

    Raises:
        TombolaError: if the model cannot be built for such images.
    """
    image = data.card_or_nominal(dataset).image
    return _or([], model, "built", lambda: build(model, image).not_prunable())


T = TypeVar("T")


def _or(instead: T, model: ModelSpec, what: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except TombolaError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and none of it ends a sweep
        _log.warning("%s cannot be %s, so estimates leave it out: %s", model.name, what, error)
        return instead


def profile(trial: Trial, store: Store) -> Profile:
    """The profile of a trial's model, from the store if it was measured on this machine before.

    Raises:
        ValueError: if the model cannot be built for such images, or the device is not there.
    """
    known = known_profile(trial, store)
    if known is None:
        known = _measured(trial)
        Objects(store).commit_fact(names.profile(profile_key(trial)), asdict(known))
    return known


def _sizes(trial: Trial) -> Profile:
    family = build(trial.model, data.card_or_nominal(trial.dataset).image, trial.recipe.precision)
    return _profile(family, math.nan)


def _measured(trial: Trial) -> Profile:
    card = data.card_or_nominal(trial.dataset)
    place = device.prepare(trial.resources)
    family = build(trial.model, card.image, trial.recipe.precision)
    materialise(family, place)
    initialise(family, 0, "profile")
    steady = trial.recipe.model_copy(update={"lr": 1e-12, "lr_discriminator": None})  # no recipe diverges here
    optimizers = optimizers_of(family, steady)
    steps = family.period  # so many are an epoch here, and then each epoch does the same
    images = torch.zeros(steps * trial.recipe.batch, *card.image, dtype=torch.uint8, device=place)
    durations: list[float] = []
    clock = time.perf_counter()
    for _ in train(family, optimizers, None, images, steady, 0, 0, 1000):
        now = time.perf_counter()
        durations.append(now - clock)
        clock = now
        if steps * (len(durations) - 1) >= _STEPS and sum(durations) > _SECONDS:
            break
    return _profile(family, statistics.median(durations[1:]) / steps * (card.train // trial.recipe.batch))


def _profile(family: Family, epoch_seconds: float) -> Profile:
    weights = sum(t.numel() * t.element_size() for t in family.networks.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in family.parameters())
    prunable = sum(p.numel() for p in family.prunable().values())
    return Profile(weights + 2 * parameters, weights, prunable, epoch_seconds)
