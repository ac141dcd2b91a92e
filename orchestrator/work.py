"""Work: what is left to do of a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.plan import Inventory, Plan, PlannedTrial
from workers.failures import Failure
from workers.points import Points
from workers.stages import Stage


class Work:
    """The trials of a plan that have not ended, those with the longest remaining chain first, and what is held of it.

    `points` are those of the whole plan, so that no trial makes another train an epoch again.
    """

    def __init__(self, plan: Plan, unfinished: Collection[str], inventory: Inventory) -> None:
        missing = inventory.missing_epochs
        left = [planned for planned in plan.trials if planned.trial.id in unfinished]
        self.plan = plan
        self.trials: list[PlannedTrial] = sorted(left, key=lambda p: -sum(missing[line] for line in p.ends))
        self.by_id = {planned.trial.id: planned for planned in self.trials}
        self.points: Points = plan.points
        self.inventory = inventory

    def points_of(self, trial_id: str) -> Points:
        """The points of the lines that a trial trains."""
        return {line: self.points[line] for line in self.by_id[trial_id].ends}

    def needs(self, trial_id: str) -> list[str]:
        """Every stage that a trial makes if nobody else does, in order: its own, and the points that others need."""
        stages = self.by_id[trial_id].stages
        return list(dict.fromkeys(needed for key in stages for needed in self.reached(key)))

    def reached(self, key: str) -> list[str]:
        """The stages that are committed once `key` is: for a point of a line also those before it."""
        line, _, epoch = key.partition("@")
        if not epoch or line not in self.points:
            return [key]
        return [f"{line}@{point}" for point in sorted(self.points[line]) if point <= int(epoch)]

    def failed(self, failure: Failure) -> list[str]:
        """The stages that a failure stands in the way of."""
        points = self.points.get(failure.stage)
        if points is None:
            return [failure.stage]
        return [f"{failure.stage}@{point}" for point in points if failure.epoch is None or point >= failure.epoch]

    def seconds_alone(self, seconds: Mapping[str, float]) -> float:
        """Seconds of training if every trial trained all it needs; `seconds` are those of an epoch, by line."""
        ends = (end for planned in self.trials for end in planned.ends.values())
        return sum((end.to - end.line.start) * seconds[end.line.key] for end in ends)

    def seconds_shared(self, seconds: Mapping[str, float]) -> float:
        """Seconds of training that are left to do."""
        return sum(self.inventory.missing_epochs[line] * each for line, each in seconds.items())

    def unfinished_stage(self, trial_id: str, committed: Collection[str]) -> Stage:
        """The stage that a trial was at: the first of its program that is not committed, or else the last."""
        stages = self.by_id[trial_id].stages
        return next((stage for key, stage in stages.items() if key not in committed), list(stages.values())[-1])
