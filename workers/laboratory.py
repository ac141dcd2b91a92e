"""The laboratory: the verbs that searches are written in, memoised by derivation.

A verb works out the key of what it returns from what made it, and hands the stage to `perform`. The workbench
performs stages by computing what its store lacks; the recorder only remembers them, which is how a sweep is planned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from search_spaces.canonical import digest
from search_spaces.errors import TombolaError
from search_spaces.trial import Trial
from workers.data.card import DatasetCard
from workers.stages import DENSE, Evaluate, Initial, Line, MaskKey, Prune, Shuffle, Stage, State, Train

VERSIONS = {"initial": 1, "train": 1, "prune": 1, "shuffle_layer": 1, "evaluate": 1}
"""Version of what each verb computes; a change of meaning raises it, and with it every key that follows."""


class TooFewImagesError(TombolaError):
    """A trial asks for more images than its data set has."""


class Laboratory(ABC):
    """The verbs for one trial on one data set; `stages` collects all that was asked for, in order."""

    def __init__(self, trial: Trial, card: DatasetCard) -> None:
        self.trial = trial
        self.card = card
        self.epochs = trial.epochs
        _check_images(trial, card)
        self.stages: dict[str, Stage] = {}
        self._model = digest({"model": trial.model.model_dump(), "image": card.image})
        self._step = digest({"recipe": trial.recipe.model_dump(), "data": card.fingerprint, "order": trial.seed.order})
        self._measure = digest({"evaluation": trial.evaluation.model_dump(), "data": card.fingerprint})

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

    def evaluate(self, state: State) -> str:
        """The key of what the trial's evaluation measures on `state`."""
        key = self._key("evaluate", state=state.key, measure=self._measure)
        self._do(Evaluate(key, state))
        return key

    @abstractmethod
    def perform(self, stage: Stage) -> None:
        """See to it that what `stage` makes is there."""

    def _do(self, stage: Stage) -> None:
        self.stages[stage.key] = stage
        self.perform(stage)

    def _key(self, verb: str, **made_of: Any) -> str:
        return digest({"verb": verb, "version": VERSIONS[verb], **made_of})


def _check_images(trial: Trial, card: DatasetCard) -> None:
    batch, samples, name = trial.recipe.batch, trial.evaluation.samples, trial.dataset.name
    if batch > card.train:
        raise TooFewImagesError(f"recipe.batch: {batch} is more than the {card.train} training images of {name}")
    if samples > card.held_out:
        raise TooFewImagesError(
            f"evaluation.samples: {samples} is more than the {card.held_out} held-out images of {name}"
        )


class Recorder(Laboratory):
    """A laboratory that does nothing but remember what it was asked for."""

    def perform(self, stage: Stage) -> None:
        pass
