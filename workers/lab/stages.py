"""The stages that make states, masks and measurements. They are known before any work is done. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.criterion import Criterion
from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Distances, Evaluation
from workers.lab.references import DENSE, Giver, Line, MaskKey, State
from workers.store import names


@dataclass(frozen=True, slots=True)
class Initial:
    """Make the first state of a network; `draw` tells independent initialisations of one seed apart."""

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
    """Of the weights that `within` keeps, keep those that are best `by` a criterion, a share `density` of all."""

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
    """Train a line until the masks of its epochs have come to rest, at epoch `last` at the latest.

    The mask of an epoch is chosen `by` a criterion, to density `density`. It has come to rest where the newest of
    `look_back` masks differs from each of the others on a share of at most `delta`.
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
    """Keep as much of a mask elsewhere, as the control `how` says; `draw` tells independent ones of a seed apart."""

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
    """Move the part of a mask that is of some `bodies` to the same roles of the trial's model, which are its scope."""

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
    """Put the weights that `source` has of some `bodies` in the same roles of a state `onto`."""

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
    """Train a classifier, named by its network, on a labelled data set."""

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
    """Take the features of real images that models are compared with; `classifier` is what has to be there for it."""

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
    """Measure a state on a part of the held-out data, against `features` of real images and with a `classifier`."""

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
    """Find the best of several states, by what was measured on each, and measure it on what is reported on.

    `reported` are, in the order of `candidates`, the stages that measure so, of which one is done; that of the last
    state is done in any case.
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
