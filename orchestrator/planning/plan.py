"""The plan of a sweep: every search dry-run, and what the trials share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from search_spaces.base.canonical import canonical_json
from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Trial
from workers import data
from workers.data import DatasetCard
from workers.lab.points import FULL, Points, Wanted
from workers.lab.recorder import Recorder
from workers.lab.references import Line
from workers.lab.stages import Emerge, Graft, Initial, Move, Prune, Redraw, Stage, Train
from workers.program import run_program


@dataclass(frozen=True, slots=True)
class End:
    """How far a line is trained: to `most`, or where data decides, to `least` at least; its `start`, if never.

    A line that starts where a mask emerges has for its start the earliest epoch that this can be.
    """

    line: Line
    least: int
    most: int

    @property
    def epochs(self) -> int:
        """The most epochs there can be."""
        return self.most - self.line.start

    @property
    def least_epochs(self) -> int:
        return self.least - self.line.start

    def or_further(self, other: End) -> End:
        return End(self.line, max(self.least, other.least), max(self.most, other.most))


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and the stages its program is made of, by key, in order.

    `makers` says by whose model, data and recipe a stage is made, or a line trained, by its key: the trial's own, or
    those of one whose ticket it takes.
    """

    trial: Trial
    stages: Mapping[str, Stage]
    makers: Mapping[str, Trial]

    @cached_property
    def ends(self) -> dict[str, End]:
        """How far the trial trains each of its lines, by their keys."""
        ends: dict[str, End] = {}
        for stage in self.stages.values():
            if isinstance(stage, Train | Emerge):
                end = self._end(stage)
                ends[stage.line.key] = end.or_further(ends.get(stage.line.key, end))
        return ends

    def _end(self, stage: Train | Emerge) -> End:
        if isinstance(stage, Emerge):
            return End(stage.line, stage.look_back, stage.last)
        return End(stage.line, stage.line.start if stage.key in self._uncertain else stage.to, stage.to)

    @cached_property
    def _uncertain(self) -> set[str]:
        """The stages that are only made if a mask emerges."""
        uncertain = {key for key, stage in self.stages.items() if isinstance(stage, Emerge)}
        for key, stage in self.stages.items():
            if not uncertain.isdisjoint(stage.needs):
                uncertain.add(key)
        return uncertain

    @property
    def epochs(self) -> int:
        """Epochs the trial trains if it runs alone; the most, where that depends on data."""
        return sum(end.epochs for end in self.ends.values())


class Plan:
    """All trials of a sweep, longest first, with what they have in common."""

    def __init__(self, planned: Iterable[PlannedTrial]) -> None:
        self.trials: list[PlannedTrial] = sorted(planned, key=lambda p: -p.epochs)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every distinct stage, each after those that it needs."""
        return {key: stage for planned in self.trials for key, stage in planned.stages.items()}

    @cached_property
    def wanted(self) -> Wanted:
        """What is wanted of every line: points, and the masks that are to emerge on it."""
        return Wanted.by(self.stages.values())

    @property
    def points(self) -> Points:
        """The points of every line that some trial needs, and how they are kept."""
        return self.wanted.points

    @cached_property
    def ends(self) -> dict[str, End]:
        """How far each line is trained, by its key."""
        ends: dict[str, End] = {}
        for planned in self.trials:
            for line, end in planned.ends.items():
                ends[line] = end.or_further(ends.get(line, end))
        return ends

    @property
    def lines(self) -> dict[str, Line]:
        return {key: end.line for key, end in self.ends.items()}

    @property
    def epochs_alone(self) -> int:
        """Epochs if every trial trained all it needs by itself."""
        return sum(planned.epochs for planned in self.trials)

    @property
    def epochs_chained(self) -> int:
        """Epochs if trials that differ only in sparsity were one chain that logs all its levels."""
        ends: dict[tuple[str, str], End] = {}
        for planned in self.trials:
            chain = canonical_json(planned.trial.model_dump(exclude={"sparsity"}))
            for line, end in planned.ends.items():
                ends[chain, line] = end.or_further(ends.get((chain, line), end))
        return sum(end.epochs for end in ends.values())

    @property
    def epochs(self) -> int:
        """Distinct epochs: what running the whole sweep trains in an empty store; the most, where data decides."""
        return sum(end.epochs for end in self.ends.values())

    @property
    def least_epochs(self) -> int:
        """The least distinct epochs there can be."""
        return sum(end.least_epochs for end in self.ends.values())

    @cached_property
    def makers(self) -> dict[str, Trial]:
        """By whose model, data and recipe each line is trained, by its key."""
        return {line: planned.makers[line] for planned in self.trials for line in planned.ends}

    @property
    def models(self) -> list[Trial]:
        """A trial for everything that is trained or measured, such as trials that only others take tickets from."""
        return models_of(self.trials)

    def critical_path(
        self, weights: Mapping[str, float] | None = None, stages: Mapping[str, float] | None = None
    ) -> float:
        """The longest chain of epochs that have to wait for each other, each weighing 1 or as its line says.

        To these is added what `stages` says of each stage, by its key.
        """
        finish: dict[str, float] = {}
        for key, stage in self.stages.items():
            # what was imported is no stage, and is there
            begin = max((finish[need] for need in stage.needs if need in finish), default=0.0)
            if isinstance(stage, Train | Emerge):
                end = stage.to if isinstance(stage, Train) else stage.last
                begin += (end - stage.line.start) * (weights[stage.line.key] if weights else 1.0)
            finish[key] = begin + (stages[key] if stages else 0.0)
        return max(finish.values(), default=0.0)


def models_of(planned: Collection[PlannedTrial]) -> list[Trial]:
    """These trials, and the trials that they take tickets from.

    If a source is also a trial of the plan, the list has that trial, with its own evaluation.
    """
    sources = (maker for each in planned for maker in each.makers.values())
    return list({trial.id: trial for trial in (*sources, *(each.trial for each in planned))}.values())


def make_plan(trials: Sequence[Trial], card_of: Callable[[DatasetSpec], DatasetCard] = data.card) -> Plan:
    """Dry-run the searches of `trials` on data sets whose cards `card_of` gives.

    Raises:
        TooFewImagesError: if a trial asks for more images than its data set has.
        DataError: if a data set is missing.
    """
    cards = cache(card_of)  # looking for files that are not there takes long, and every trial asks
    return Plan(_recorded(trial, cards) for trial in trials)


def _recorded(trial: Trial, card_of: Callable[[DatasetSpec], DatasetCard]) -> PlannedTrial:
    recorder = Recorder(trial, card_of(trial.dataset), card_of)
    run_program(recorder, trial)
    return PlannedTrial(trial, recorder.stages, {key: maker.trial for key, maker in recorder.makers.items()})


def kept_bytes(plan: Plan, sizes: Mapping[str, tuple[int, int, int]]) -> int:
    """Bytes of states and masks that the store holds once `plan` is done, rows and pictures not counted.

    `sizes` gives for every trial of `plan.models` the bytes of a full state, those of its weights, and its prunable
    weights. Masks are counted at the entropy of independent draws, which their encoding stays close to.
    """
    total = 0.0
    counted: set[str] = set()
    for planned in plan.trials:
        for key, stage in planned.stages.items():
            if key in counted:
                continue
            counted.add(key)
            full, weights, prunable = sizes[planned.makers[key].id]
            match stage:
                case Initial():
                    total += weights
                case Train():
                    total += full if plan.points[stage.line.key][stage.to] == FULL else weights
                case Graft():
                    total += full
                case Emerge():
                    total += full + prunable * _entropy(stage.density) / 8
                case Prune():
                    total += prunable * _entropy(stage.density) / 8
                case Redraw() | Move():
                    total += prunable * _entropy(_density(plan, stage)) / 8
    return round(total)


def _density(plan: Plan, stage: Redraw | Move) -> float:
    source = plan.stages.get(stage.mask)
    if isinstance(source, Redraw | Move):
        return _density(plan, source)
    return source.density if isinstance(source, Prune | Emerge) else 1.0


def _entropy(density: float) -> float:
    """Bits of entropy of one weight that is kept with probability `density`."""
    return -sum(p * math.log2(p) for p in (density, 1 - density) if p > 0)


def verbs(plan: Plan) -> dict[str, int]:
    """The number of distinct stages of each verb."""
    counts: defaultdict[str, int] = defaultdict(int)
    for stage in plan.stages.values():
        counts[type(stage).__name__.lower()] += 1
    return dict(counts)
