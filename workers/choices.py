"""Choices: in the features of which network a trial's distances are measured, settled before anything trains.

A store remembers them, so that what is measured there goes on being measured in the same way, wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_spaces.canonical import digest
from search_spaces.datasets import FashionMNIST
from search_spaces.errors import TombolaError
from search_spaces.trial import Distances, Trial
from workers import data, names, weights
from workers.data import DataError
from workers.feature_spaces import SPACES, Features
from workers.laboratory import classifier_key
from workers.objects import Objects
from workers.store import Store


class DistancesError(TombolaError):
    """Distances that cannot be measured as they are asked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The distances that were settled on, for which models and data, and in words why."""

    distances: Distances
    of: str
    why: str


class Choices:
    """Settles the distances of trials: as the store remembers, or by what is there."""

    def __init__(self, store: Store) -> None:
        self._objects = Objects(store)
        self.made: dict[str, Choice] = {}

    def settle(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """The same trials, knowing what their distances are measured with.

        Raises:
            DistancesError: if they cannot be measured as asked for.
            WeightsError: if pretrained weights are missing, or not the right ones.
            DataError: if a data set is missing.
        """
        return tuple(self._settled(trial) for trial in trials)

    @property
    def told(self) -> list[str]:
        """A sentence on each kind of trial that draws images: what its distances are measured in, and why."""
        return [f"{c.of}: {c.distances.features}, {c.why}" for c in self.made.values()]

    def record(self) -> None:
        """See to it that the store remembers what was settled, and holds the weights that it takes."""
        for key, choice in self.made.items():
            self._objects.commit_fact(names.choice(key), choice.distances.model_dump())
            if choice.distances.features in ("inception", "effnet"):
                self._keep_weights(choice.distances)

    def _settled(self, trial: Trial) -> Trial:
        if trial.evaluation.distances.settled:
            return trial
        if not trial.model.generates:
            return _measured(trial, Distances(features="none"))
        facts = trial.evaluation.model_dump(include={"samples", "distances", "selection"})
        key = digest({**facts, "dataset": trial.dataset.model_dump()})
        if key not in self.made:
            distances, why = self._remembered(key) or _choose(trial)
            self.made[key] = Choice(distances, f"distances on {trial.dataset.name}", why)
        return _measured(trial, self.made[key].distances)

    def _remembered(self, key: str) -> tuple[Distances, str] | None:
        fact = self._objects.read_fact(names.choice(key))
        return None if fact is None else (Distances.model_validate(fact), "as before in this store")

    def _keep_weights(self, distances: Distances) -> None:
        assert distances.weights is not None
        assert distances.features in ("inception", "effnet")
        if self._objects.read(names.weights(distances.weights)) is None:
            file = weights.needed(distances.features)
            self._objects.commit(names.weights(file.sha256), file.path.read_bytes())


def _measured(trial: Trial, distances: Distances) -> Trial:
    return trial.evaluated(trial.evaluation.model_copy(update={"distances": distances}))


def _choose(trial: Trial) -> tuple[Distances, str]:
    """The distances of a trial that draws images, and why these."""
    asked = trial.evaluation.distances
    assert asked.features != "none"
    if asked.features == "auto":
        return _best_that_is_there(trial)
    if problem := _unsuitable(asked.features, trial):
        raise DistancesError(f"evaluation.distances: {problem}")
    return asked.model_copy(update={"weights": _weights(asked.features)}), "as asked for"


def _best_that_is_there(trial: Trial) -> tuple[Distances, str]:
    problems: list[str] = []
    for features in SPACES:
        problem = _unsuitable(features, trial) or _missing(features)
        if problem is None:
            chosen = {"features": features, "weights": _weights(features)}
            why = "; ".join(["the best that is there", *problems])
            return trial.evaluation.distances.model_copy(update=chosen), why
        problems.append(problem)
    return Distances(features="none"), "; ".join(problems)


def _unsuitable(features: Features, trial: Trial) -> str | None:
    """Why these features are not for the images of a trial, or None."""
    space, evaluation = SPACES[features], trial.evaluation
    compared = min(evaluation.compared, evaluation.selection.samples if evaluation.selection else evaluation.compared)
    channels = data.card(trial.dataset).image[0]
    if channels not in space.channels:
        return f"{features} is for images of {space.channels[0]} channel, {trial.dataset.name} has {channels}"
    if compared <= space.dimensions:
        return f"{features} needs more than its {space.dimensions} features of samples, not {compared}"
    return None


def _missing(features: Features) -> str | None:
    """Why these features cannot be had here, or None."""
    if features == "fashion":
        try:
            data.card(FashionMNIST())
        except DataError as error:
            return f"fashion has nothing to learn from: {error}"
        return None
    if weights.find(features) is None:
        return f"{features} has no weights here"
    return None


def _weights(features: Features) -> str:
    if features == "fashion":
        return classifier_key("fashion", data.card(FashionMNIST()))
    return weights.needed(features).sha256
