"""Profiles: how large a model is, and how long its epochs take on a machine."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from search_spaces.canonical import digest
from search_spaces.trial import Trial
from workers import data, names
from workers.objects import Objects
from workers.store import Store


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes in bytes of a state kept in full and of its weights alone, prunable weights, seconds an epoch takes.

    Seconds are NaN where they were not measured.
    """

    full_bytes: int
    weights_bytes: int
    prunable: int
    epoch_seconds: float


UNKNOWN = Profile(0, 0, 0, 0.0)
"""The profile of a model that does not train."""


def profile_key(trial: Trial) -> str:
    """Trials with the same key have the same profile on this machine."""
    facts = trial.model_dump(include={"model", "dataset", "recipe", "resources", "code"})
    return digest({**facts, "data": data.card_or_nominal(trial.dataset).fingerprint, "host": platform.node()})


def known_profile(trial: Trial, store: Store) -> Profile | None:
    """The profile of a trial, if it was measured on this machine before."""
    return Objects(store).read_fact(names.profile(profile_key(trial)), Profile)
