"""The plan of a sweep: every search dry-run, what the trials share, and what is still to be done."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from search_spaces.canonical import canonical_json
from search_spaces.trial import Trial
from workers import data, names
from workers.laboratory import Recorder
from workers.objects import Objects
from workers.points import FULL, Held, Points, Segment, Wanted, missing_segments
from workers.program import run_program
from workers.stages import Emerge, Initial, Line, Prune, Redraw, Stage, Train
from workers.store import Store


@dataclass(frozen=True, slots=True)
class End:
    """How far a line is trained.

    Where a mask emerges depends on data. It is trained at least to `least` and at most to `most`, and a line that
    starts there starts at `latest` at the latest; its own `start` is the earliest.
    """

    line: Line
    latest: int
    least: int
    most: int

    @property
    def epochs(self) -> int:
        """The most epochs there can be."""
        return self.most - self.line.start

    @property
    def least_epochs(self) -> int:
        return max(self.least - self.latest, 0)

    def or_further(self, other: End) -> End:
        return replace(self, least=max(self.least, other.least), most=max(self.most, other.most))


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and the stages its program is made of, by key, in order."""

    trial: Trial
    stages: Mapping[str, Stage]

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
            return End(stage.line, stage.line.start, stage.look_back, stage.last)
        return End(stage.line, self._latest_start(stage.line), stage.to, stage.to)

    def _latest_start(self, line: Line) -> int:
        if line.origin is None or line.origin.emergence is None:
            return line.start
        stage = self.stages[line.origin.emergence]
        assert isinstance(stage, Emerge)
        return stage.last

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

    def line_seconds(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Seconds an epoch takes of every line that the trials in `seconds`, given there by their ids, train."""
        chosen = [planned for planned in self.trials if planned.trial.id in seconds]
        return {line: seconds[planned.trial.id] for planned in chosen for line in planned.ends}

    def critical_path(self, weights: Mapping[str, float] | None = None) -> float:
        """The longest chain of epochs that have to wait for each other, each weighing 1 or as its line says."""
        finish: dict[str, float] = {}
        for key, stage in self.stages.items():
            begin = max((finish[need] for need in stage.needs), default=0.0)
            if isinstance(stage, Train | Emerge):
                end = stage.to if isinstance(stage, Train) else stage.last
                begin += (end - stage.line.start) * (weights[stage.line.key] if weights else 1.0)
            finish[key] = begin
        return max(finish.values(), default=0.0)


def make_plan(trials: Sequence[Trial]) -> Plan:
    """Dry-run the searches of `trials`.

    Raises:
        TooFewImagesError: if a trial asks for more images than its data set has.
        DataError: if a data set is missing.
    """
    return Plan(_recorded(trial) for trial in trials)


def _recorded(trial: Trial) -> PlannedTrial:
    recorder = Recorder(trial, data.card(trial.dataset))
    run_program(recorder, trial)
    return PlannedTrial(trial, recorder.stages)


@dataclass(frozen=True)
class Inventory:
    """What of a plan a store holds: its stages by key, and the epochs of each line that are still to be trained."""

    held: frozenset[str]
    missing_epochs: Mapping[str, int]

    @property
    def missing(self) -> int:
        return sum(self.missing_epochs.values())


def take_inventory(plan: Plan, store: Store) -> Inventory:
    """What `store` holds of the stages of `plan`, by the names of its objects alone."""
    held = Held.parse(store.list(names.STATES))
    present = set(store.list(names.OBJECTS))
    objects = Objects(store)

    def emerged(stage: Stage) -> int | None:
        """The epoch at which a mask emerged, if it has and its state is there."""
        assert isinstance(stage, Emerge)
        fact = objects.read_fact(names.pruning(stage.key)) if stage.object in present else None
        states = held.get(stage.line.key, Held()).full
        return fact["epoch"] if fact is not None and fact["epoch"] in states else None

    def seen(stage: Emerge) -> int:
        """The last epoch at which a mask that has not emerged was looked for."""
        return next(epoch for epoch in count() if names.glimpse(stage.key, epoch + 1) not in present)

    done = set()
    for key, stage in plan.stages.items():
        match stage:
            case Initial():
                there = held.get(stage.line.key, Held()).has(0, FULL)
            case Train():
                kept = plan.points[stage.line.key][stage.to]
                there = held.get(stage.line.key, Held()).has(stage.to, kept)
            case Emerge():
                there = emerged(stage) is not None
            case _:
                there = stage.object in present
        if there:
            done.add(key)
    missing = {}
    for key, end in plan.ends.items():
        emergence = end.line.origin.emergence if end.line.origin else None
        start = end.line.start if emergence is None else emerged(plan.stages[emergence]) or end.line.start
        segments = missing_segments(start, plan.points.get(key, {}), held.get(key, Held()))
        searched = [stage for stage in plan.wanted.emerging.get(key, ()) if emerged(stage) is None]
        further = [_searched(stage, segments, seen(stage), start, held.get(key, Held())) for stage in searched]
        missing[key] = sum(segment.end - segment.begin for segment in segments) + max(further, default=0)
    return Inventory(frozenset(done), missing)


def _searched(stage: Emerge, segments: Sequence[Segment], seen: int, start: int, held: Held) -> int:
    """The most epochs that are trained for a mask to emerge, beside `segments`, where it is looked for in passing."""
    passed = seen
    for segment in segments:
        if segment.begin <= passed:
            passed = max(passed, segment.end)
    moments = {start} | held.full | held.checkpoint | {segment.end for segment in segments}
    begin = max(epoch for epoch in moments if epoch <= max(passed, start))
    return max(stage.last - begin, 0) if passed < stage.last else 0


def kept_bytes(plan: Plan, sizes: Mapping[str, tuple[int, int, int]]) -> int:
    """Bytes of states and masks that the store holds once `plan` is done, rows and pictures not counted.

    `sizes` gives for every trial the bytes of a full state, those of its weights, and its prunable weights. Masks are
    counted at the entropy of independent draws, which their encoding stays close to.
    """
    total = 0.0
    counted: set[str] = set()
    for planned in plan.trials:
        full, weights, prunable = sizes[planned.trial.id]
        for key, stage in planned.stages.items():
            if key in counted:
                continue
            counted.add(key)
            match stage:
                case Initial():
                    total += weights
                case Train():
                    total += full if plan.points[stage.line.key][stage.to] == FULL else weights
                case Emerge():
                    total += full + prunable * _entropy(stage.density) / 8
                case Prune():
                    total += prunable * _entropy(stage.density) / 8
                case Redraw():
                    total += prunable * _entropy(_density(plan, stage)) / 8
    return round(total)


def _density(plan: Plan, stage: Redraw) -> float:
    source = plan.stages.get(stage.mask)
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
