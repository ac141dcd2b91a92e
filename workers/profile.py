"""Profiles: how large a model is and how long its epochs take here, measured in a few steps."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import asdict, dataclass

import torch

from search_spaces.canonical import digest
from search_spaces.trial import Trial
from workers import data, device, names
from workers.models import build, initialise, materialise
from workers.objects import Objects
from workers.store import Store
from workers.training import optimizers_of, train

_STEPS, _SECONDS = 3, 0.5


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes in bytes of a state kept in full and of its weights alone, prunable weights, seconds an epoch takes."""

    full_bytes: int
    weights_bytes: int
    prunable: int
    epoch_seconds: float


UNKNOWN = Profile(0, 0, 0, 0.0)
"""The profile of a model that does not train."""


def profile_key(trial: Trial) -> str:
    """Trials with the same key have the same profile on this machine."""
    facts = trial.model_dump(include={"model", "dataset", "recipe", "resources"})
    return digest({**facts, "data": data.card(trial.dataset).fingerprint, "host": platform.node()})


def profile(trial: Trial, store: Store) -> Profile:
    """The profile of a trial's model, from the store if it was measured on this machine before.

    Raises:
        ValueError: if the model cannot be built for such images, or the device is not there.
    """
    objects, name = Objects(store), names.profile(profile_key(trial))
    fact = objects.read_fact(name)
    if fact is None:
        fact = asdict(_measured(trial))
        objects.commit_fact(name, fact)
    return Profile(**fact)


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
