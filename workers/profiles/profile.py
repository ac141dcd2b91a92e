"""Profiles: how large a model is, and how long work with it takes on this machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from search_spaces.base.canonical import digest
from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Evaluation, Trial
from workers import data
from workers.data.reading.card import DatasetCard
from workers.lab.stages import Evaluate, Features, Fit, Select, Stage
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a model, and the seconds that work with it takes.

    Size: `full_bytes` is a state kept in full, `weights_bytes` its weights alone. `prunable` is the number of prunable
    weights; `not_prunable` names the parameters that no mask can prune.

    Training: `epoch_seconds` and `epoch_flops` are those of one dense epoch. `epoch_seconds` is NaN if it was not
    measured. `trial_seconds` is the time of a trial outside its stages, such as writing rows. `stage_seconds` is the
    time of a stage outside epochs and measuring, such as reading and writing states.

    Measuring, in seconds for an image: `image_seconds` for all metrics but distances, `sample_seconds` to generate it,
    `feature_seconds` to compute its features, `judge_seconds` to classify it and its reconstruction. Comparing n
    features with n others takes `frechet_seconds` + n² `pair_seconds`. `generators` is the number of networks whose
    samples are compared. `fit_seconds` is the time to train a classifier, by the name of its network.
    """

    full_bytes: int
    weights_bytes: int
    prunable: int
    epoch_seconds: float
    epoch_flops: float = 0.0
    not_prunable: tuple[str, ...] = ()
    trial_seconds: float = 0.0
    stage_seconds: float = 0.0
    image_seconds: float = 0.0
    sample_seconds: float = 0.0
    feature_seconds: float = 0.0
    judge_seconds: float = 0.0
    frechet_seconds: float = 0.0
    pair_seconds: float = 0.0
    generators: int = 0
    fit_seconds: Mapping[str, float] = field(default_factory=dict)

    def seconds_of(self, stage: Stage) -> float:
        """The seconds of a stage without the epochs that it trains. A selection may include one more evaluation."""
        match stage:
            case Fit():
                return self.stage_seconds + self.fit_seconds.get(stage.network, 0.0)
            case Features():
                return self.stage_seconds + stage.samples * self.feature_seconds
            case Evaluate():
                return self.stage_seconds + self._measuring(stage)
            case Select():
                return self.stage_seconds + (self._measuring(stage.reported[-1]) if len(stage.candidates) > 1 else 0.0)
            case _:
                return self.stage_seconds

    def _measuring(self, stage: Evaluate) -> float:
        evaluation = stage.evaluation
        seconds = evaluation.samples * self.image_seconds + evaluation.grid**2 * self.sample_seconds
        if stage.classifier is not None:
            seconds += evaluation.samples * self.judge_seconds
        if stage.features is not None:
            seconds += self.generators * self._comparing(evaluation)
        return seconds

    def _comparing(self, evaluation: Evaluation) -> float:
        count = evaluation.compared
        each = self.sample_seconds + self.feature_seconds
        return count * each + self.frechet_seconds + count**2 * self.pair_seconds


UNKNOWN = Profile(0, 0, 0, 0.0)
"""The profile of a model that cannot be built or trained."""


def profile_key(trial: Trial, card_of: Callable[[DatasetSpec], DatasetCard] = data.card_or_nominal) -> str:
    """The key of a trial's profile. Trials with the same key have the same profile on this machine.

    `card_of` finds the card of a data set.
    """
    facts = trial.model_dump(include={"model", "dataset", "recipe", "resources", "code"})
    measured = trial.evaluation.model_dump(include={"distances", "downstream"})
    there = {"data": card_of(trial.dataset).fingerprint, "host": platform.node()}
    return digest({**facts, **there, "measured": measured, "version": 4})


def known_profile(trial: Trial, store: Store) -> Profile | None:
    """The profile of a trial, or None if it was not measured on this machine before."""
    return Objects(store).read_fact(names.profile(profile_key(trial)), Profile)
