"""Choices: the network in whose features a trial's distances are measured. They are settled before planning.

A store remembers its choices, so that all of its distances are measured in the same way, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_spaces.base.canonical import digest
from search_spaces.datasets import FashionMNIST
from search_spaces.errors import TombolaError
from search_spaces.trial import Distances, Evaluation, Trial
from workers import data
from workers.data import DataError, DatasetCard
from workers.lab.keys import VERSIONS, classifier_key
from workers.measures import pretrained as weights
from workers.measures.feature_spaces import SPACES, Features
from workers.measures.requirements import wrong_channels
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects


class DistancesError(TombolaError):
    """Distances that cannot be measured as a trial asks."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The distances that were settled on, and a sentence for the user that says what for and why."""

    distances: Distances
    told: str


class Choices:
    """Settles the distances of trials: as the store remembers, or by what is available.

    With `planning`, data sets whose sizes are known may be missing. So may the weights of a network that a sweep names,
    if their SHA-256 is known.
    """

    def __init__(self, store: Store, *, planning: bool = False) -> None:
        self._objects = Objects(store)
        self._planning = planning
        self._card = data.card_or_nominal if planning else data.card
        self._made: dict[str, Choice] = {}
        self._chosen: dict[str, str] = {}
        self._weights: dict[Features, str] = {}

    def settle(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """Return the trials with the networks for their distances filled in.

        Raises:
            DistancesError: if distances cannot be measured as a trial asks.
            WeightsError: if pretrained weights are missing or wrong.
            DataError: if a data set is missing.
        """
        return tuple(self._settled(trial) for trial in trials)

    @property
    def told(self) -> list[str]:
        """Sentences that say in which features distances are measured, and why: one for each choice."""
        return list(dict.fromkeys(choice.told for choice in self._made.values()))

    def record(self) -> None:
        """Store the choices, and the pretrained weights that they need."""
        for key, features in self._chosen.items():
            self._objects.commit_fact(names.choice(key), features)
        for network, sha256 in self._weights.items():
            self._objects.commit_fact(names.choice(_network_key(network)), sha256)
            if network != "fashion" and self._objects.read(names.weights(sha256)) is None:
                self._objects.commit(names.weights(sha256), weights.needed(network).path.read_bytes())

    def _settled(self, trial: Trial) -> Trial:
        if trial.evaluation.distances.settled:
            return trial
        if not trial.model.generates:
            return _measured(trial, Distances(features="none"))
        facts = trial.evaluation.model_dump(include={"samples", "distances", "selection"})
        key = digest({**facts, "dataset": trial.dataset.model_dump()})
        if key not in self._made:
            features, why = self._features(trial)
            self._made[key] = Choice(self._distances(trial, features), f"distances on {trial.dataset.name}: {why}")
        return _measured(trial, self._made[key].distances)

    def _features(self, trial: Trial) -> tuple[Features | None, str]:
        """Choose the features for a trial's distances, and say why."""
        asked = trial.evaluation.distances.features
        assert asked != "none"
        if asked != "auto":
            if problem := _too_few(asked, trial.evaluation):
                raise DistancesError(f"evaluation.distances: {problem}")
            reasons = (f"{asked}, as asked for", _missing(asked) if self._planning else None)
            return asked, "; ".join(filter(None, reasons))
        key = digest({"dataset": data.in_full(trial.dataset).model_dump()})
        remembered = self._objects.read_fact(names.choice(key), str)
        if remembered == "none":
            return None, "none, as before in this store; name evaluation.distances.features to have any"
        known = next((space for space in SPACES if space == remembered), None)
        if known and _too_few(known, trial.evaluation) is None:
            return known, f"{known}, as before in this store"
        found, why = _best_that_is_there(trial, self._card(trial.dataset))
        self._chosen.setdefault(key, found or "none")
        return found, why

    def _distances(self, trial: Trial, features: Features | None) -> Distances:
        if features is None:
            return Distances(features="none")
        if features not in self._weights:
            known = self._objects.read_fact(names.choice(_network_key(features)), str)
            self._weights[features] = known or self._weights_of(features)
        chosen = {"features": features, "weights": self._weights[features]}
        return trial.evaluation.distances.model_copy(update=chosen)

    def _weights_of(self, features: Features) -> str:
        if features == "fashion":
            return classifier_key("fashion", self._card(FashionMNIST()))
        return weights.SHA256[features] if self._planning else weights.needed(features).sha256


def _network_key(features: Features) -> str:
    """The key under which a store remembers the identity of a network's weights."""
    return digest({"network": features, "fit": VERSIONS["fit"]})


def _measured(trial: Trial, distances: Distances) -> Trial:
    return trial.evaluated(trial.evaluation.model_copy(update={"distances": distances}))


def _best_that_is_there(trial: Trial, card: DatasetCard) -> tuple[Features | None, str]:
    problems: list[str] = []
    for features in SPACES:
        problem = wrong_channels(trial, card, features)
        problem = problem or _too_few(features, trial.evaluation) or _missing(features)
        if problem is None:
            return features, "; ".join([f"{features}, the best that is there", *problems])
        problems.append(problem)
    return None, "; ".join(["none", *problems])


def _too_few(features: Features, evaluation: Evaluation) -> str | None:
    """Say why an evaluation has too few samples for these features; None if it has enough."""
    dimensions = SPACES[features].dimensions
    compared = {"samples": evaluation.compared}
    if evaluation.selection:
        compared["selection.samples"] = evaluation.selection.samples
    for name, count in compared.items():
        if count <= dimensions:
            return f"{features} needs more samples than its {dimensions} features, but {name} is {count}"
    return None


def _missing(features: Features) -> str | None:
    """Say why these features are not available here; None if they are."""
    if features == "fashion":
        try:
            data.card(FashionMNIST())
        except DataError as error:
            return f"fashion has nothing to learn from: {error}"
        return None
    return None if weights.find(features) else f"{features} has no weights here"
