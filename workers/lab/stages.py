"""The stages that make states, masks and measurements. They are known before any work is done. No torch.

`needs` lists the keys of the stages that a stage depends on. `object` is the name of its result in a store.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.criterion import Criterion
from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Distances, Evaluation
from workers.lab.references import DENSE, Giver, Line, MaskKey, State
from workers.store import names


@dataclass(frozen=True, slots=True)
class Initial:
    """Make the initial state of a network. `draw` distinguishes independent initialisations with the same seed."""

    line: Line
    draw: str

    @property
    def key(self) -> str:
        return State(self.line, 0).key

    @property
    def needs(self) -> tuple[str, ...]:
        slim = self.line.slim
        return () if slim is None or slim.mask == DENSE else (slim.mask,)


@dataclass(frozen=True, slots=True)
class Train:
    """Train along a line to the end of epoch `to`."""

    line: Line
    to: int

    @property
    def key(self) -> str:
        return State(self.line, self.to).key

    @property
    def needs(self) -> tuple[str, ...]:
        assert self.line.origin is not None
        masks = () if self.line.mask == DENSE else (self.line.mask,)
        moments = () if self.line.moments in (None, self.line.origin) else (self.line.moments.stage,)
        return (self.line.origin.stage, *masks, *moments)


@dataclass(frozen=True, slots=True)
class Prune:
    """Keep the best weights, `by` a criterion, of those that `within` keeps: the fraction `density` of all."""

    key: MaskKey
    state: State
    within: MaskKey
    by: Criterion
    density: float

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.state.stage, *(() if self.within == DENSE else (self.within,)))

    @property
    def object(self) -> str:
        return names.mask(self.key)


@dataclass(frozen=True, slots=True)
class Emerge:
    """Train a line until a mask emerges, at epoch `last` at the latest.

    The mask of an epoch is chosen `by` a criterion, with density `density`. It emerges when the newest of `look_back`
    masks differs from each of the others on a share of at most `delta`.
    """

    key: MaskKey
    line: Line
    by: Criterion
    density: float
    look_back: int
    delta: float
    last: int

    @property
    def needs(self) -> tuple[str, ...]:
        assert self.line.origin is not None
        return (self.line.origin.key,)

    @property
    def object(self) -> str:
        return names.mask(self.key)


@dataclass(frozen=True, slots=True)
class Redraw:
    """Keep as much as a mask does, but elsewhere, as the control `how` says. Another `draw` is independent."""

    key: MaskKey
    mask: MaskKey
    how: str
    draw: str

    @property
    def needs(self) -> tuple[str, ...]:
        return () if self.mask == DENSE else (self.mask,)

    @property
    def object(self) -> str:
        return names.mask(self.key)


@dataclass(frozen=True, slots=True)
class Move:
    """Move the part of a mask that belongs to `bodies` to the same roles of the trial's model; it covers only these."""

    key: MaskKey
    mask: MaskKey
    giver: Giver
    bodies: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.mask,)

    @property
    def object(self) -> str:
        return names.mask(self.key)


@dataclass(frozen=True, slots=True)
class Graft:
    """Put the weights of `bodies` from the state `source` into the same roles of the state `onto`."""

    line: Line
    source: State
    onto: State
    giver: Giver
    bodies: tuple[str, ...]

    @property
    def state(self) -> State:
        return State(self.line, self.line.begins)

    @property
    def key(self) -> str:
        return self.state.key

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.source.stage, self.onto.stage)


@dataclass(frozen=True, slots=True)
class Fit:
    """Train a classifier with the architecture `network` on a labelled data set."""

    key: str
    network: str
    dataset: DatasetSpec

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @property
    def object(self) -> str:
        return names.classifier(self.key)


@dataclass(frozen=True, slots=True)
class Features:
    """Compute the features of real images for distances. `classifier` is the key of a classifier that this needs."""

    key: str
    distances: Distances
    part: str
    samples: int
    classifier: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        return () if self.classifier is None else (self.classifier,)

    @property
    def object(self) -> str:
        return names.features(self.key)


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure a state on a part of the held-out images. `features` and `classifier` are the keys of what it needs."""

    key: str
    state: State
    evaluation: Evaluation
    part: str
    features: str | None
    classifier: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.state.key, *(key for key in (self.features, self.classifier) if key is not None))

    @property
    def object(self) -> str:
        return names.evaluation(self.key)


@dataclass(frozen=True, slots=True)
class Select:
    """Find the best of several states by the metric `by`, and measure it on the images that metrics are reported on.

    `reported` holds the stages of that measurement, in the order of `candidates`. Only the stage of the best state is
    performed here; that of the last state is performed in any case.
    """

    key: str
    candidates: tuple[Evaluate, ...]
    by: str
    reported: tuple[Evaluate, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return (*(candidate.key for candidate in self.candidates), *self.reported[-1].needs)

    @property
    def object(self) -> str:
        return names.selection(self.key)


Stage = Initial | Train | Prune | Emerge | Redraw | Move | Graft | Fit | Features | Evaluate | Select
