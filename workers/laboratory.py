"""The laboratory: the verbs that searches are written in, memoised by derivation.

A verb works out the key of what it returns from what made it, and hands the stage to `perform`. The workbench
performs stages by computing what its store lacks; the recorder only remembers them, which is how a sweep is planned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from search_spaces.canonical import digest
from search_spaces.datasets import DatasetSpec, FashionMNIST
from search_spaces.trial import Distances, Evaluation, Trial
from workers import data
from workers.data.card import DatasetCard
from workers.demands import check_demands, selected_by
from workers.feature_spaces import SPACES
from workers.stages import (
    DENSE,
    Evaluate,
    Features,
    Fit,
    Initial,
    Line,
    MaskKey,
    Prune,
    Select,
    Shuffle,
    Stage,
    State,
    Train,
)

VERSIONS = {
    "initial": 1,
    "train": 1,
    "prune": 1,
    "shuffle_layer": 1,
    "fit": 1,
    "features": 1,
    "evaluate": 2,
    "select": 1,
}
"""Version of what each verb computes; a change of meaning raises it, and with it every key that follows."""

HELD_OUT, SELECTION = "held_out", "selection"
"""Parts of the held-out images: the first ones, which metrics are reported on, and the last, which select an epoch."""


class Laboratory(ABC):
    """The verbs for one trial on one data set; `stages` collects all that was asked for, in order."""

    def __init__(self, trial: Trial, card: DatasetCard) -> None:
        self.trial = trial
        self.card = card
        self.epochs = trial.epochs
        check_demands(trial, card)
        self.stages: dict[str, Stage] = {}
        self._model = digest({"model": trial.model.model_dump(), "image": card.image})
        self._step = digest({"recipe": trial.recipe.model_dump(), "data": card.fingerprint, "order": trial.seed.order})

    def initial(self, draw: str = "initial") -> State:
        """The network as initialised; another `draw` is an independent initialisation."""
        line = Line(self._key("initial", model=self._model, seed=self.trial.seed.init, draw=draw))
        self._do(Initial(line, draw))
        return State(line, 0)

    def dense(self) -> MaskKey:
        """The mask that keeps everything."""
        return DENSE

    def train(self, state: State, mask: MaskKey, to: int) -> State:
        """`state` trained under `mask` to the end of epoch `to`.

        Training on under the mask that a state was trained with continues its line, so that going there in one
        step or in several is the same thing. Under another mask a new line begins at `state`.
        """
        assert to >= state.epoch, f"cannot train from epoch {state.epoch} back to {to}"
        if to == state.epoch and mask == state.line.mask:
            return state
        line = state.line
        if line.origin is None or line.mask != mask:
            line = Line(self._key("train", origin=state.key, mask=mask, step=self._step), state, mask)
        self._do(Train(line, to))
        return State(line, to)

    def prune(self, state: State, mask: MaskKey, *, score: str, density: float) -> MaskKey:
        """Of what `mask` keeps, the `density` of all prunable weights that `score` ranks highest in `state`."""
        if density >= 1:
            return mask
        key = self._key("prune", state=state.key, within=mask, score=score, density=density)
        self._do(Prune(MaskKey(key), state, mask, score, density))
        return MaskKey(key)

    def shuffle_layer(self, mask: MaskKey) -> MaskKey:
        """`mask` with the kept weights of every layer in random places of that layer."""
        key = self._key("shuffle_layer", mask=mask, seed=self.trial.seed.init)
        self._do(Shuffle(MaskKey(key), mask))
        return MaskKey(key)

    def calibrate(self) -> None:
        """See to it that all that evaluation looks through is there.

        Every trial of a sweep looks through the same and waits for it, so it comes before anything is trained.
        """
        self._instruments(self.trial.evaluation, HELD_OUT)
        if self.trial.evaluation.selection:
            self._instruments(self._selecting, SELECTION)

    def evaluate(self, state: State) -> str:
        """The key of what the trial's evaluation measures on `state`."""
        stage = self._evaluation_of(state, self.trial.evaluation, HELD_OUT)
        self._do(stage)
        return stage.key

    def select(self, states: Sequence[State]) -> str:
        """The key of which of `states`, the last of them where training ended, the trial's selection finds best.

        Each is measured on images that nothing else is measured on, and the best then as `evaluate` measures.
        """
        candidates = tuple(self._evaluation_of(state, self._selecting, SELECTION) for state in states)
        for candidate in candidates:
            self._do(candidate)
        last, by = self._evaluation_of(states[-1], self.trial.evaluation, HELD_OUT), selected_by(self.trial)
        key = self._key("select", of=[candidate.key for candidate in candidates], by=by, last=last.key)
        self._do(Select(key, candidates, by, last))
        return key

    @property
    def _selecting(self) -> Evaluation:
        """How candidates are measured among which the best is selected."""
        selection = self.trial.evaluation.selection
        assert selection is not None
        distances = self.trial.evaluation.distances.model_copy(update={"samples": selection.samples})
        return Evaluation(samples=selection.samples, grid=0, distances=distances)

    def _evaluation_of(self, state: State, evaluation: Evaluation, part: str) -> Evaluate:
        measure = evaluation.model_copy(update={"selection": None})
        features, classifier = self._instruments(measure, part)
        key = self._key(
            "evaluate",
            state=state.key,
            measure=measure.model_dump(),
            data=self.card.fingerprint,
            part=part,
            features=features,
            classifier=classifier,
        )
        return Evaluate(key, state, measure, part, features, classifier)

    def _instruments(self, evaluation: Evaluation, part: str) -> tuple[str | None, str | None]:
        """The keys of the features of real images, and of the classifier, that an evaluation needs."""
        features = self._features(evaluation.distances, part, evaluation.compared)
        if not evaluation.downstream or not self.trial.model.reconstructs:
            return features, None
        dataset = data.in_full(self.trial.dataset)
        return features, self._fit(classifier_key("resnet18", data.card(dataset)), "resnet18", dataset)

    def _features(self, distances: Distances, part: str, samples: int) -> str | None:
        """The key of the features of real images that fakes are compared with."""
        if distances.features == "none":
            return None
        assert distances.features != "auto", "a trial's distances are settled before it is planned"
        source = "train" if part == HELD_OUT and distances.reference == "train" else part
        key = self._key(
            "features",
            network=distances.features,
            layer=SPACES[distances.features].layer,
            weights=distances.weights,
            data=self.card.fingerprint,
            image=self.card.image,
            part=source,
            samples=samples,
        )
        fitted = self._fit(distances.weights, "fashion", FashionMNIST()) if distances.features == "fashion" else None
        self._do(Features(key, distances, source, samples, fitted))
        return key

    def _fit(self, key: str | None, network: str, dataset: DatasetSpec) -> str:
        assert key is not None
        self._do(Fit(key, network, dataset))
        return key

    @abstractmethod
    def perform(self, stage: Stage) -> None:
        """See to it that what `stage` makes is there."""

    def _do(self, stage: Stage) -> None:
        self.stages[stage.key] = stage
        self.perform(stage)

    def _key(self, verb: str, **made_of: Any) -> str:
        return digest({"verb": verb, "version": VERSIONS[verb], **made_of})


def classifier_key(network: str, card: DatasetCard) -> str:
    """The key of a classifier that is trained on a labelled data set."""
    made_of = {"network": network, "data": card.fingerprint, "labels": card.labels}
    return digest({"verb": "fit", "version": VERSIONS["fit"], **made_of})


class Recorder(Laboratory):
    """A laboratory that does nothing but remember what it was asked for."""

    def perform(self, stage: Stage) -> None:
        pass
