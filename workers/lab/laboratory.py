"""The laboratory: the verbs that searches are written in. Results are memoised by their inputs.

A verb computes the key of its result from its inputs, and passes a stage to `perform`. The workbench performs a stage
by computing what its store lacks. The recorder only records the stage; a sweep is planned in this way.
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
"""Parts of the held-out images: metrics are reported on the first images; the last images select an epoch."""


class Laboratory(ABC):
    """The verbs for one trial on one data set.

    `stages` collects all stages by key, in order of use. `makers` maps the key of a stage, or of a line, to the
    laboratory that performs or trains it: this one, or one made by `beside`.
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
        """Return the initial state of the network, narrowed to `slim`. Another `draw` is an independent initialisation.

        The initialisations of a trial that takes a ticket and of the trial that gives it are independent, too.
        """
        draw = self._apart + draw
        narrowed = None if slim is None else asdict(slim)
        key = key_of("initial", model=self._model, seed=self.trial.seed.init, draw=draw, slim=narrowed)
        line = Line(key, slim=slim)
        self._do(Initial(line, draw))
        return State(line, 0)

    def dense(self) -> MaskKey:
        """Return the mask that keeps everything."""
        return DENSE

    def train(
        self, state: State, mask: MaskKey, to: int, steps: Steps = AS_THE_RECIPE, moments: State | None = None
    ) -> State:
        """Train `state` under `mask` to the end of epoch `to`, and return the state there.

        With the mask and steps that `state` was trained with, training continues its line. The result is then the same
        whether it is reached in one call or in several. With another mask or other steps, a new line begins at `state`.
        Its optimizer starts with the moments of the state `moments`; if that is None, it is fresh.
        """
        assert to >= state.epoch, f"cannot train from epoch {state.epoch} back to {to}"
        if to == state.epoch and mask == state.line.mask:
            return state
        line = self._line(state, mask, steps, moments)
        self._do(Train(line, to))
        return State(line, to)

    def prune(self, state: State, mask: MaskKey, *, by: Criterion, density: float) -> MaskKey:
        """Prune `mask` further: keep the weights that rank best in `state` by a criterion, and return the new mask.

        `density` is the fraction of all prunable weights that is kept. If the criterion ranks channels, it is the
        fraction of all channels. Ties are drawn at random, with the seed of initialisation.
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
        """Train the dense line from `state` until a mask emerges, by epoch `last` at the latest.

        Returns the state and the mask at that epoch. `last` is not part of the key, because a mask that emerges does
        not depend on it.
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
        """Return a mask that keeps as much as `mask`, but elsewhere. The control `how` says what is random."""
        if mask == DENSE:
            return mask
        draw = self._apart + how
        key = key_of(how, mask=mask, seed=self.trial.seed.init, draw=None if draw == how else draw)
        self._do(Redraw(MaskKey(key), mask, how, draw))
        return MaskKey(key)

    def move(self, mask: MaskKey, giver: Giver, bodies: tuple[str, ...]) -> MaskKey:
        """Move the part of another model's mask that belongs to `bodies` to the same roles of this model.

        The new mask covers these roles only; all other weights stay dense.
        """
        if mask == DENSE:
            return mask
        key = key_of("move", mask=mask, giver=digest_of_giver(giver), taker=self._model, bodies=bodies)
        self._do(Move(MaskKey(key), mask, giver, bodies))
        return MaskKey(key)

    def graft(self, source: State, giver: Giver, bodies: tuple[str, ...], onto: State) -> State:
        """Return the state `onto` with the weights of `bodies` from another model's state `source`, role by role."""
        key = key_of(
            "graft", source=source.key, giver=digest_of_giver(giver), onto=onto.key, taker=self._model, bodies=bodies
        )
        stage = Graft(Line(key, begins=onto.epoch), source, onto, giver, bodies)
        self._do(stage)
        return stage.state

    def beside(self, trial: Trial) -> Laboratory:
        """Return the laboratory of another trial. Its stages are added to those of this one; it measures nothing."""
        unmeasured = Evaluation(samples=1, grid=0, distances=Distances(features="none"))
        run_as = {"resources": self.trial.resources, "checkpoint_every": self.trial.checkpoint_every}
        other = self._another(trial.changed(evaluation=unmeasured, **run_as))
        other.stages, other.makers = self.stages, self.makers
        return other

    def calibrate(self) -> None:
        """Perform the stages that make the features of real images and the classifiers that evaluation needs.

        This comes before any training, because all trials of a sweep share these results and wait for them.
        """
        self._instruments(self.trial.evaluation, HELD_OUT)
        if self.trial.evaluation.selection:
            self._instruments(self._selecting, SELECTION)

    def evaluate(self, state: State) -> str:
        """Measure `state` as the trial's evaluation says, and return the key of the result."""
        stage = self._evaluation_of(state, self.trial.evaluation, HELD_OUT)
        self._do(stage)
        return stage.key

    def select(self, states: Sequence[State], epochs: Sequence[int]) -> str:
        """Select the best of `states` as the trial's selection says, and return the key of the result.

        The last of `states` is the end of training. Each state is measured on images that are used for nothing else.
        The best one is then measured as by `evaluate`. `epochs` are the epochs of the line in the plan. If a
        mask emerges, they may be more than the `states`, because the plan does not know where the ticket starts.
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
        """Return the line that training `state` under `mask` continues, or a new line."""
        if state.line.origin is not None and (state.line.mask, state.line.steps) == (mask, steps):
            return state.line
        own, moments = (each if each and each.epoch else None for each in (state, moments))  # epoch 0 has no moments
        begins = None if moments == own else moments.key if moments else "fresh"
        departs = {"l1": steps.l1 or None, "lag": steps.lag or None, "moments": begins}
        key = key_of("train", origin=state.key, mask=mask, step=self._step, **departs)
        return Line(key, state, mask, steps, moments, state.line.slim)

    def _made_of(self, by: Criterion) -> dict[str, Any]:
        """A criterion as part of a key, with its plugin code and images. Equivalent scopes give equal keys."""
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
        """The evaluation that measures the candidates of the selection."""
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
        """Provide the features of real images and the classifier that an evaluation needs; return their keys."""
        features = self._features(evaluation.distances, part, evaluation.compared)
        if not evaluation.downstream or not self.trial.model.reconstructs:
            return features, None
        dataset = data.in_full(self.trial.dataset)
        return features, self._fit(classifier_key("resnet18", data.card_or_nominal(dataset)), "resnet18", dataset)

    def _features(self, distances: Distances, part: str, samples: int) -> str | None:
        """Provide the features of the real images that fakes are compared with; return their key."""
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
        """Make a laboratory of this kind for another trial."""

    @abstractmethod
    def perform(self, stage: Stage) -> None:
        """Make the result of `stage` available."""

    @abstractmethod
    def emergence(self, stage: Emerge) -> int:
        """The epoch at which the mask of `stage` emerged. The stage has been performed before."""

    def _do(self, stage: Stage) -> None:
        self.stages[stage.key] = stage
        self.makers[stage.key] = self
        if isinstance(stage, Train | Emerge):
            self.makers[stage.line.key] = self
        self.perform(stage)
