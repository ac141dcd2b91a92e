"""The plan of a sweep: a dry run of every search, and what the trials share."""

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
    """How far a line is trained: to epoch `most`, or where data decides, at least to epoch `least`.

    If the line may not be trained at all, `least` is its start. The start may depend on when a mask emerges; then it is
    the earliest possible epoch.
    """

    line: Line
    least: int
    most: int

    @property
    def epochs(self) -> int:
        """Upper bound on the number of epochs."""
        return self.most - self.line.start

    @property
    def least_epochs(self) -> int:
        return self.least - self.line.start

    def or_further(self, other: End) -> End:
        return End(self.line, max(self.least, other.least), max(self.most, other.most))


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and the stages of its program, by key, in order.

    `makers` gives the trial whose model, data and recipe are used, by the key of a stage or line. This is the trial
    itself, or a source of its ticket.
    """

    trial: Trial
    stages: Mapping[str, Stage]
    makers: Mapping[str, Trial]

    @cached_property
    def ends(self) -> dict[str, End]:
        """How far the trial trains each of its lines, by the key of the line."""
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
        """Keys of the stages that wait for a mask to emerge, and of all stages that need these."""
        uncertain = {key for key, stage in self.stages.items() if isinstance(stage, Emerge)}
        for key, stage in self.stages.items():
            if not uncertain.isdisjoint(stage.needs):
                uncertain.add(key)
        return uncertain

    @property
    def epochs(self) -> int:
        """Epochs that the trial trains if it runs alone; an upper bound where data decides."""
        return sum(end.epochs for end in self.ends.values())


class Plan:
    """All trials of a sweep, longest first, and what they share."""

    def __init__(self, planned: Iterable[PlannedTrial]) -> None:
        self.trials: list[PlannedTrial] = sorted(planned, key=lambda p: -p.epochs)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """All distinct stages by key, each after the stages that it needs."""
        return {key: stage for planned in self.trials for key, stage in planned.stages.items()}

    @cached_property
    def wanted(self) -> Wanted:
        """What the trials need of every line: its points, and the masks that emerge on it."""
        return Wanted.by(self.stages.values())

    @property
    def points(self) -> Points:
        """Points of every line that some trial needs, and how each is kept."""
        return self.wanted.points

    @cached_property
    def ends(self) -> dict[str, End]:
        """How far each line is trained, by the key of the line."""
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
        """Epochs if every trial trains everything that it needs by itself."""
        return sum(planned.epochs for planned in self.trials)

    @property
    def epochs_chained(self) -> int:
        """Epochs if trials that differ only in sparsity are one chain that logs all its levels."""
        ends: dict[tuple[str, str], End] = {}
        for planned in self.trials:
            chain = canonical_json(planned.trial.model_dump(exclude={"sparsity"}))
            for line, end in planned.ends.items():
                ends[chain, line] = end.or_further(ends.get((chain, line), end))
        return sum(end.epochs for end in ends.values())

    @property
    def epochs(self) -> int:
        """Distinct epochs: those that the sweep trains in an empty store; an upper bound where data decides."""
        return sum(end.epochs for end in self.ends.values())

    @property
    def least_epochs(self) -> int:
        """Lower bound on the distinct epochs."""
        return sum(end.least_epochs for end in self.ends.values())

    @cached_property
    def makers(self) -> dict[str, Trial]:
        """The trial whose model, data and recipe are used to train a line, by the key of the line."""
        return {line: planned.makers[line] for planned in self.trials for line in planned.ends}

    @property
    def models(self) -> list[Trial]:
        """One trial for each model that is trained or measured; includes trials that are only sources of tickets."""
        return models_of(self.trials)

    def critical_path(
        self, weights: Mapping[str, float] | None = None, stages: Mapping[str, float] | None = None
    ) -> float:
        """Length of the longest chain of stages that must wait for each other.

        An epoch counts 1, or the value in `weights` for its line. A stage adds the value in `stages` for its key.
        """
        finish: dict[str, float] = {}
        for key, stage in self.stages.items():
            # an imported ticket is not a stage, and there is nothing to wait for
            begin = max((finish[need] for need in stage.needs if need in finish), default=0.0)
            if isinstance(stage, Train | Emerge):
                end = stage.to if isinstance(stage, Train) else stage.last
                begin += (end - stage.line.start) * (weights[stage.line.key] if weights else 1.0)
            finish[key] = begin + (stages[key] if stages else 0.0)
        return max(finish.values(), default=0.0)


def models_of(planned: Collection[PlannedTrial]) -> list[Trial]:
    """These trials, and the sources of their tickets.

    If a source is also a trial of the plan, the list has that trial, with its own evaluation.
    """
    sources = (maker for each in planned for maker in each.makers.values())
    return list({trial.id: trial for trial in (*sources, *(each.trial for each in planned))}.values())


def make_plan(trials: Sequence[Trial], card_of: Callable[[DatasetSpec], DatasetCard] = data.card) -> Plan:
    """Dry-run the searches of `trials`; `card_of` gives the card of a data set.

    Raises:
        TooFewImagesError: if a trial asks for more images than its data set has.
        DataError: if a data set is missing.
    """
    cards = cache(card_of)  # every trial asks, and looking for missing files takes long
    return Plan(_recorded(trial, cards) for trial in trials)


def _recorded(trial: Trial, card_of: Callable[[DatasetSpec], DatasetCard]) -> PlannedTrial:
    recorder = Recorder(trial, card_of(trial.dataset), card_of)
    run_program(recorder, trial)
    return PlannedTrial(trial, recorder.stages, {key: maker.trial for key, maker in recorder.makers.items()})


def kept_bytes(plan: Plan, sizes: Mapping[str, tuple[int, int, int]]) -> int:
    """Bytes of the states and masks that the store holds when `plan` is done, without rows and pictures.

    For every trial of `plan.models`, `sizes` has the bytes of a full state, the bytes of its weights, and the number of
    its prunable weights. A mask counts with the entropy of independent draws, which is close to its encoded size.
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
    """Entropy in bits of one weight that is kept with probability `density`."""
    return -sum(p * math.log2(p) for p in (density, 1 - density) if p > 0)


def verbs(plan: Plan) -> dict[str, int]:
    """Number of distinct stages of each verb."""
    counts: defaultdict[str, int] = defaultdict(int)
    for stage in plan.stages.values():
        counts[type(stage).__name__.lower()] += 1
    return dict(counts)
