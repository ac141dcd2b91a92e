"""The laboratory: the verbs that searches are written in, memoised by derivation.

A verb works out the key of what it returns from what made it, and hands the stage to `perform`. The workbench
performs stages by computing what its store lacks; the recorder only remembers them, which is how a sweep is planned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from search_spaces.base.canonical import digest
from search_spaces.criterion import Criterion, Scope
from search_spaces.datasets import DatasetSpec, FashionMNIST
from search_spaces.transfer import apart
from search_spaces.trial import Code, Distances, Evaluation, Trial
from workers import data
from workers.data.reading.card import DatasetCard
from workers.lab.keys import VERSIONS, classifier_key, digest_of_giver, key_of
from workers.lab.references import AS_THE_RECIPE, DENSE, Giver, Line, MaskKey, Slim, State, Steps
from workers.lab.stages import (
    Emerge,
    Evaluate,
    Features,
    Fit,
    Graft,
    Initial,
    Move,
    Prune,
    Redraw,
    Select,
    Stage,
    Train,
)
from workers.measures.feature_spaces import SPACES
from workers.measures.requirements import check_demands, selected_by

HELD_OUT, SELECTION = "held_out", "selection"
"""Parts of the held-out images: the first ones, which metrics are reported on, and the last, which select an epoch."""


class Laboratory(ABC):
    """The verbs for one trial on one data set; `stages` collects all that was asked for, in order.

    `makers` says which laboratory makes a stage, or trains a line, by its key: this one, or one `beside` it.
    """

    def __init__(self, trial: Trial, card: DatasetCard) -> None:
        self.trial = trial
        self.card = card
        self.epochs = trial.epochs
        check_demands(trial, card)
        self.stages: dict[str, Stage] = {}
        self.makers: dict[str, Laboratory] = {}
        self._code = trial.code or Code()
        self.as_giver = Giver(trial.model, card.image, self._code.model)
        self._apart = apart(trial)
        self._model = digest_of_giver(self.as_giver)
        self._step = digest({"recipe": trial.recipe.model_dump(), "data": card.fingerprint, "order": trial.seed.order})

    def initial(self, draw: str = "initial", slim: Slim | None = None) -> State:
        """The network as initialised, narrowed to `slim`; another `draw` is an independent initialisation.

        So are those of a trial that takes a ticket and of the trial that gives it.
        """
        draw = self._apart + draw
        narrowed = None if slim is None else asdict(slim)
        key = key_of("initial", model=self._model, seed=self.trial.seed.init, draw=draw, slim=narrowed)
        line = Line(key, slim=slim)
        self._do(Initial(line, draw))
        return State(line, 0)

    def dense(self) -> MaskKey:
        """The mask that keeps everything."""
        return DENSE

    def train(
        self,
        state: State,
        mask: MaskKey,
        to: int,
        steps: Steps = AS_THE_RECIPE,
        moments: State | None = None,
    ) -> State:
        """`state` trained under `mask` to the end of epoch `to`.

        Training on under the mask that a state was trained with continues its line, so that going there in one
        step or in several is the same thing. Under another mask, or by other steps, a new line begins at `state`,
        with the optimizer moments of the state `moments`; left out, with a fresh optimizer.
        """
        assert to >= state.epoch, f"cannot train from epoch {state.epoch} back to {to}"
        if to == state.epoch and mask == state.line.mask:
            return state
        line = self._line(state, mask, steps, moments)
        self._do(Train(line, to))
        return State(line, to)

    def prune(self, state: State, mask: MaskKey, *, by: Criterion, density: float) -> MaskKey:
        """Of what `mask` keeps, the `density` of all prunable weights that are best in `state` by a criterion.

        Where that ranks channels, it is the density of all channels. Of equal scores the seed of initialisation draws.
        """
        if density >= 1:
            return mask
        made_of = {"state": state.key, "within": mask, "density": density, "seed": self.trial.seed.init}
        key = key_of("prune", **made_of, **self._made_of(by))
        self._do(Prune(MaskKey(key), state, mask, by, density))
        return MaskKey(key)

    def emerge(
        self, state: State, *, by: Criterion, density: float, look_back: int, delta: float, last: int, steps: Steps
    ) -> tuple[State, MaskKey]:
        """The state and mask where masks come to rest on the dense line from `state`, by epoch `last` at the latest.

        If one does, it is the same however long one would have searched, so `last` makes no key.
        """
        line = self._line(state, DENSE, steps, moments=None)
        key = key_of(
            "emerge",
            line=line.key,
            density=density,
            look_back=look_back,
            delta=delta,
            **self._made_of(by),
        )
        stage = Emerge(MaskKey(key), line, by, density, look_back, delta, last)
        self._do(stage)
        return State(line, self.emergence(stage), stage.key), stage.key

    def redraw(self, mask: MaskKey, how: str) -> MaskKey:
        """As much of `mask` elsewhere: the control `how` says what stays as it is and what is left to chance."""
        if mask == DENSE:
            return mask
        draw = self._apart + how
        key = key_of(how, mask=mask, seed=self.trial.seed.init, draw=None if draw == how else draw)
        self._do(Redraw(MaskKey(key), mask, how, draw))
        return MaskKey(key)

    def move(self, mask: MaskKey, giver: Giver, bodies: tuple[str, ...]) -> MaskKey:
        """The part of another model's mask that is of some bodies, in the same roles of this one, and of them alone."""
        if mask == DENSE:
            return mask
        key = key_of("move", mask=mask, giver=digest_of_giver(giver), taker=self._model, bodies=bodies)
        self._do(Move(MaskKey(key), mask, giver, bodies))
        return MaskKey(key)

    def graft(self, source: State, giver: Giver, bodies: tuple[str, ...], onto: State) -> State:
        """The state `onto`, in which some bodies have the weights of another model's, role by role."""
        key = key_of(
            "graft", source=source.key, giver=digest_of_giver(giver), onto=onto.key, taker=self._model, bodies=bodies
        )
        stage = Graft(Line(key, begins=onto.epoch), source, onto, giver, bodies)
        self._do(stage)
        return stage.state

    def beside(self, trial: Trial) -> Laboratory:
        """The laboratory of another trial, whose stages are entered here; nothing is measured there."""
        unmeasured = Evaluation(samples=1, grid=0, distances=Distances(features="none"))
        run_as = {"resources": self.trial.resources, "checkpoint_every": self.trial.checkpoint_every}
        other = self._another(trial.changed(evaluation=unmeasured, **run_as))
        other.stages, other.makers = self.stages, self.makers
        return other

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

    def select(self, states: Sequence[State], epochs: Sequence[int]) -> str:
        """The key of which of `states`, the last of them where training ended, the trial's selection finds best.

        Each is measured on images that nothing else is measured on, and the best then as `evaluate` measures. `epochs`
        are those that a plan has of their line: all of theirs, and where a mask emerges those that are not reached.
        """
        candidates = tuple(self._evaluation_of(state, self._selecting, SELECTION) for state in states)
        for candidate in candidates:
            self._do(candidate)
        reported = tuple(self._evaluation_of(state, self.trial.evaluation, HELD_OUT) for state in states)
        by = selected_by(self.trial)
        planned = [State(states[-1].line, epoch) for epoch in epochs]
        of = [self._evaluation_of(state, self._selecting, SELECTION).key for state in planned]
        key = key_of("select", of=of, by=by, last=reported[-1].key)
        self._do(Select(key, candidates, by, reported))
        return key

    def _line(self, state: State, mask: MaskKey, steps: Steps, moments: State | None) -> Line:
        """The line that training `state` under `mask` goes on along, or begins."""
        if state.line.origin is not None and (state.line.mask, state.line.steps) == (mask, steps):
            return state.line
        own, moments = (each if each and each.epoch else None for each in (state, moments))  # at epoch 0 there are none
        begins = None if moments == own else moments.key if moments else "fresh"
        departs = {"l1": steps.l1 or None, "lag": steps.lag or None, "moments": begins}
        key = key_of("train", origin=state.key, mask=mask, step=self._step, **departs)
        return Line(key, state, mask, steps, moments, state.line.slim)

    def _made_of(self, by: Criterion) -> dict[str, Any]:
        """A criterion as part of a key, with its code and the images that it looks at; a scope in one way to say it."""
        if by.scope:
            own = tuple(name for name in self.trial.model.components if name in by.scope.components)
            scope = by.scope.model_copy(update={"components": () if own == self.trial.model.components else own})
            by = by.model_copy(update={"scope": None if scope == Scope() else scope})
        looks_at = {"data": self.card.fingerprint, "order": self.trial.seed.order} if by.images else {}
        finder = self.trial.finder
        scorer = self._code.scorer if finder and finder.criterion.score == by.score else None
        channels = {"choosing_channels": VERSIONS["channels"]} if by.channels else {}
        return by.model_dump() | looks_at | {"scorer": scorer} | channels

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
        otherwise = {"precision": "fp32"} if self.trial.recipe.precision != "fp32" else {}
        key = key_of(
            "evaluate",
            **otherwise,
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
        return features, self._fit(classifier_key("resnet18", data.card_or_nominal(dataset)), "resnet18", dataset)

    def _features(self, distances: Distances, part: str, samples: int) -> str | None:
        """The key of the features of real images that fakes are compared with."""
        if distances.features == "none":
            return None
        assert distances.features != "auto", "a trial's distances are settled before it is planned"
        source = "train" if part == HELD_OUT and distances.reference == "train" else part
        key = key_of(
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
    def _another(self, trial: Trial) -> Laboratory:
        """A laboratory of this kind for another trial."""

    @abstractmethod
    def perform(self, stage: Stage) -> None:
        """See to it that what `stage` makes is there."""

    @abstractmethod
    def emergence(self, stage: Emerge) -> int:
        """The epoch at which the mask of `stage`, which has been performed, emerged."""

    def _do(self, stage: Stage) -> None:
        self.stages[stage.key] = stage
        self.makers[stage.key] = self
        if isinstance(stage, Train | Emerge):
            self.makers[stage.line.key] = self
        self.perform(stage)
