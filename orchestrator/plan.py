"""The plan of a sweep: every search dry-run, what the trials share, and what is still to be done."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from search_spaces.canonical import canonical_json
from search_spaces.trial import Trial
from workers import data, names
from workers.laboratory import Recorder
from workers.points import FULL, Held, missing_segments, points
from workers.program import run_program
from workers.stages import Initial, Line, Prune, Shuffle, Stage, Train
from workers.store import Store


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and the stages its program is made of, by key, in order."""

    trial: Trial
    stages: Mapping[str, Stage]

    @cached_property
    def ends(self) -> dict[str, Train]:
        """The furthest stage of every line that the trial trains."""
        ends: dict[str, Train] = {}
        for stage in self.stages.values():
            if isinstance(stage, Train):
                known = ends.get(stage.line.key)
                ends[stage.line.key] = stage if known is None or stage.to > known.to else known
        return ends

    @property
    def epochs(self) -> int:
        """Epochs the trial trains if it runs alone."""
        return sum(stage.to - stage.line.start for stage in self.ends.values())


class Plan:
    """All trials of a sweep, longest first, with what they have in common."""

    def __init__(self, planned: Iterable[PlannedTrial]) -> None:
        self.trials: list[PlannedTrial] = sorted(planned, key=lambda p: -p.epochs)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every distinct stage, each after those that it needs."""
        return {key: stage for planned in self.trials for key, stage in planned.stages.items()}

    @cached_property
    def points(self) -> dict[str, dict[int, str]]:
        """The points of every line that some trial needs, and how they are kept."""
        return points(self.stages.values())

    @cached_property
    def lines(self) -> dict[str, Line]:
        return {stage.line.key: stage.line for stage in self.stages.values() if isinstance(stage, Train)}

    @property
    def epochs_alone(self) -> int:
        """Epochs if every trial trained all it needs by itself."""
        return sum(planned.epochs for planned in self.trials)

    @property
    def epochs_chained(self) -> int:
        """Epochs if trials that differ only in sparsity were one chain that logs all its levels."""
        ends: dict[tuple[str, str], Train] = {}
        for planned in self.trials:
            chain = canonical_json(planned.trial.model_dump(exclude={"sparsity"}))
            for line, stage in planned.ends.items():
                known = ends.get((chain, line))
                if known is None or stage.to > known.to:
                    ends[chain, line] = stage
        return sum(stage.to - stage.line.start for stage in ends.values())

    @property
    def epochs(self) -> int:
        """Distinct epochs: what running the whole sweep trains in an empty store."""
        return sum(max(wanted) - self.lines[line].start for line, wanted in self.points.items())

    def line_seconds(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Seconds an epoch takes of every line that the trials in `seconds`, given there by their ids, train."""
        chosen = [planned for planned in self.trials if planned.trial.id in seconds]
        return {line: seconds[planned.trial.id] for planned in chosen for line in planned.ends}

    def critical_path(self, weights: Mapping[str, float] | None = None) -> float:
        """The longest chain of epochs that have to wait for each other, each weighing 1 or as its line says."""
        finish: dict[str, float] = {}
        for key, stage in self.stages.items():
            begin = max((finish[need] for need in stage.needs), default=0.0)
            if isinstance(stage, Train):
                begin += (stage.to - stage.line.start) * (weights[stage.line.key] if weights else 1.0)
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
    done = set()
    for key, stage in plan.stages.items():
        match stage:
            case Initial():
                there = held.get(stage.line.key, Held()).has(0, FULL)
            case Train():
                kept = plan.points[stage.line.key][stage.to]
                there = held.get(stage.line.key, Held()).has(stage.to, kept)
            case _:
                there = stage.object in present
        if there:
            done.add(key)
    missing = {
        line: sum(s.end - s.begin for s in missing_segments(plan.lines[line].start, wanted, held.get(line, Held())))
        for line, wanted in plan.points.items()
    }
    return Inventory(frozenset(done), missing)


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
                case Prune():
                    total += prunable * _entropy(stage.density) / 8
                case Shuffle():
                    total += prunable * _entropy(_density(plan, stage)) / 8
    return round(total)


def _density(plan: Plan, stage: Shuffle) -> float:
    source = plan.stages.get(stage.mask)
    return source.density if isinstance(source, Prune) else 1.0


def _entropy(density: float) -> float:
    """Bits of entropy of one weight that is kept with probability `density`."""
    return -sum(p * math.log2(p) for p in (density, 1 - density) if p > 0)


def verbs(plan: Plan) -> dict[str, int]:
    """The number of distinct stages of each verb."""
    counts: defaultdict[str, int] = defaultdict(int)
    for stage in plan.stages.values():
        counts[type(stage).__name__.lower()] += 1
    return dict(counts)
