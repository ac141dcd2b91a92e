"""Measuring profiles, in a few steps of training."""

from __future__ import annotations

import logging
import statistics
import time
from dataclasses import asdict

import torch

from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers import data, device, names
from workers.models import build, initialise, materialise
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
    try:
        return profile(trial, store)
    except TombolaError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and none of it ends a sweep
        _log.warning("%s cannot be measured, so estimates leave it out: %s", trial.model.name, error)
        return UNKNOWN


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


def _measured(trial: Trial) -> Profile:
    card = data.card(trial.dataset)
    place = device.prepare(trial.resources)
    family = build(trial.model, card.image, trial.recipe.precision)
    materialise(family, place)
    initialise(family, 0, "profile")
    steady = trial.recipe.model_copy(update={"lr": 1e-12, "lr_discriminator": None})  # no recipe diverges here
    optimizers = optimizers_of(family, steady)
    images = torch.zeros(trial.recipe.batch, *card.image, dtype=torch.uint8, device=place)
    durations: list[float] = []
    clock = time.perf_counter()
    for _ in train(family, optimizers, None, images, steady, 0, 0, 1000):  # an epoch of one batch is a step
        now = time.perf_counter()
        durations.append(now - clock)
        clock = now
        if len(durations) > _STEPS and sum(durations) > _SECONDS:
            break
    weights = sum(t.numel() * t.element_size() for t in family.networks.state_dict().values())
    parameters = sum(p.numel() * p.element_size() for p in family.networks.parameters())
    steps = card.train // trial.recipe.batch
    prunable = sum(p.numel() for p in family.prunable().values())
    return Profile(weights + 2 * parameters, weights, prunable, statistics.median(durations[1:]) * steps)
