"""Measuring profiles: timing a few steps of training, the measuring of a few images, and a tiny trial."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch

from search_spaces.errors import TombolaError
from search_spaces.methods import IMP
from search_spaces.models import ModelSpec
from search_spaces.trial import Distances, Evaluation, Recipe, Trial
from workers import data, device
from workers.costs.steps import cost
from workers.data import Split
from workers.models import Family, build, initialise, materialise
from workers.profiles.evaluation import measuring_seconds
from workers.profiles.profile import UNKNOWN, Profile, known_profile, profile_key
from workers.reports import EpochTrained, Report, StageCommitted
from workers.store import names
from workers.store.backends import Store, StoreError, open_store
from workers.store.objects import Objects
from workers.training.loop import optimizers_of, train
from workers.trial import run_trial

_EPOCHS, _STEPS, _SECONDS = 4, 20, 0.15
"""The number of epochs that are timed, and the most steps and seconds that one may take."""
_log = logging.getLogger("tombola")


def profile_or_unknown(trial: Trial, store: Store) -> Profile:
    """The profile of a trial's model, or UNKNOWN with a warning if it cannot be trained. Its trials will say why.

    Raises:
        TombolaError: if the model cannot be built for such images, or if the device or the store is missing.
    """
    return _or(UNKNOWN, trial.model, "measured", lambda: profile(trial, store))


def sizes_or_unknown(trial: Trial) -> Profile:
    """The profile of a trial's model as far as it is known without training: `epoch_seconds` is NaN.

    Raises:
        TombolaError: if the model cannot be built for such images.
    """
    return _or(UNKNOWN, trial.model, "built", lambda: _sizes(trial))


T = TypeVar("T")


def _or(instead: T, model: ModelSpec, what: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except TombolaError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and it must not end a sweep
        _log.warning("%s cannot be %s, so estimates leave it out: %s", model.name, what, error)
        return instead


def profile(trial: Trial, store: Store) -> Profile:
    """The profile of a trial's model; it is read from the store if it was measured on this machine before.

    Raises:
        ValueError: if the model cannot be built for such images, or the device is not there.
    """
    known = known_profile(trial, store)
    if known is None:
        known = _measured(trial)
        if known.feature_seconds or trial.evaluation.distances.features == "none":  # else weights may be added later
            Objects(store).commit_fact(names.profile(profile_key(trial)), asdict(known))
    return known


def _sizes(trial: Trial) -> Profile:
    family = build(trial.model, data.card_or_nominal(trial.dataset).image, trial.recipe.precision)
    return _profile(trial, family, math.nan)


def _measured(trial: Trial) -> Profile:
    card = data.card_or_nominal(trial.dataset)
    place = device.prepare(trial.resources)
    family = build(trial.model, card.image, trial.recipe.precision)
    materialise(family, place)
    initialise(family, 0, "profile")
    epoch = _epoch_seconds(family, _steady(trial.recipe), card.train // trial.recipe.batch, card.image, place)
    around = {} if card.nominal else _seconds_around(trial)
    return _profile(trial, family, epoch, **around, **measuring_seconds(trial, family, place))


def _steady(recipe: Recipe) -> Recipe:
    """The recipe with a learning rate so small that nothing diverges."""
    return recipe.model_copy(update={"lr": 1e-12, "lr_discriminator": None})


def _epoch_seconds(
    family: Family, recipe: Recipe, steps: int, image: tuple[int, int, int], place: torch.device
) -> float:
    """The seconds of an epoch of `steps` steps, estimated from shorter epochs of whole periods."""
    quick = _median_epoch(family, recipe, family.period, image, place)
    longer = min(_STEPS, steps, int(_SECONDS / quick * family.period)) // family.period * family.period
    if longer > family.period:  # work that is done once an epoch has a smaller share in longer epochs
        return _median_epoch(family, recipe, longer, image, place) / longer * steps
    return quick / family.period * steps


def _median_epoch(
    family: Family, recipe: Recipe, steps: int, image: tuple[int, int, int], place: torch.device
) -> float:
    images = torch.zeros(steps * recipe.batch, *image, dtype=torch.uint8, device=place)
    ends = [time.perf_counter()]
    for _ in train(family, optimizers_of(family, recipe), None, images, recipe, 0, 0, _EPOCHS):
        ends.append(time.perf_counter())
    return statistics.median(end - begin for begin, end in pairwise(ends[1:]))  # the first epoch allocates memory


def _seconds_around(trial: Trial) -> dict[str, float]:
    """The seconds that a trial and a stage take besides training and measuring.

    A tiny trial is run twice, and the second run is timed. If it fails, the result is empty; the real trials will
    show the reason.
    """
    image = data.card(trial.dataset).image
    few = Split(
        np.zeros((build(trial.model, image).period * trial.recipe.batch, *image), np.uint8),
        np.zeros((1, *image), np.uint8),
    )
    short = trial.changed(
        method=IMP(rewind=0),
        sparsity=0.2,
        recipe=_steady(trial.recipe),
        epochs=1,
        code=None,  # run_trial fills in the code that is here
        evaluation=Evaluation(samples=1, grid=0, distances=Distances(features="none")),
    )
    with TemporaryDirectory() as folder:
        for seed in range(2):
            again = short.changed(seed=trial.seed.model_copy(update={"init": seed}))
            clock = _Clock()
            try:
                status = run_trial(again, open_store(folder), listen=clock.listen, load=lambda _: few)
            except StoreError:  # the folder for temporary files may not support a store
                return {}
            if status != "done":
                return {}
    return clock.seconds()


class _Clock:
    """Measures, by a trial's reports, the time that it takes besides epochs."""

    def __init__(self) -> None:
        self._began = self._committed = time.perf_counter()
        self._stages = set[str]()
        self._training = 0.0

    def listen(self, report: Report) -> None:
        if isinstance(report, EpochTrained):
            self._training += report.seconds
        if isinstance(report, StageCommitted):
            self._committed = time.perf_counter()
            self._stages.add(report.stage)

    def seconds(self) -> dict[str, float]:
        """The seconds by the field names of `Profile`. Call it right after the trial has ended."""
        stages = self._committed - self._began - self._training
        return {
            "trial_seconds": time.perf_counter() - self._committed,
            "stage_seconds": stages / len(self._stages),
        }


def _profile(trial: Trial, family: Family, epoch_seconds: float, **seconds: Any) -> Profile:
    weights = sum(t.numel() * t.element_size() for t in family.networks.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in family.parameters())
    return Profile(
        full_bytes=weights + 2 * parameters,
        weights_bytes=weights,
        prunable=sum(p.numel() for p in family.prunable().values()),
        epoch_seconds=epoch_seconds,
        epoch_flops=_or(0.0, trial.model, "followed", lambda: _epoch_flops(trial)),
        not_prunable=tuple(family.not_prunable()),
        **seconds,
    )


def _epoch_flops(trial: Trial) -> float:
    card, batch = data.card_or_nominal(trial.dataset), trial.recipe.batch
    return cost(trial.model, card.image, batch).step * (card.train // batch)
