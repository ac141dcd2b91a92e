"""Work: the part of a plan that is still to be done."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.planning.inventory import Inventory
from orchestrator.planning.plan import Plan, PlannedTrial
from workers.archive.failures import Failure
from workers.lab.points import Points, Wanted
from workers.lab.stages import Emerge, Stage


class Work:
    """The trials of a plan that have not ended, and what the store holds of the plan.

    Trials with the most epochs left come first. `wanted` covers all trials of the plan, also those that have ended. So
    a trial keeps every point that another trial needs, and no epoch is trained twice.
    """

    def __init__(self, plan: Plan, unfinished: Collection[str], inventory: Inventory) -> None:
        missing = inventory.missing_epochs
        left = [planned for planned in plan.trials if planned.trial.id in unfinished]
        self.plan = plan
        self.trials: list[PlannedTrial] = sorted(left, key=lambda p: -sum(missing[line] for line in p.ends))
        self.by_id = {planned.trial.id: planned for planned in self.trials}
        self.wanted: Wanted = plan.wanted
        self.points: Points = plan.points
        self.inventory = inventory

    def wanted_of(self, trial_id: str) -> Wanted:
        """What the plan needs of the lines that a trial trains."""
        return self.wanted.of(self.by_id[trial_id].ends)

    def needs(self, trial_id: str) -> list[str]:
        """All stages that a trial makes if no other does, in order: its own, and the points that others need."""
        stages = self.by_id[trial_id].stages
        return list(dict.fromkeys(needed for key in stages for needed in self.reached(key)))

    def reached(self, key: str) -> list[str]:
        """The stages that are committed once the stage `key` is. On a line, this includes all earlier points.

        The masks of a line emerge one after the other, after the points before them. So no two trials train it at once.
        """
        stage = self.plan.stages.get(key)
        if isinstance(stage, Emerge):
            emerging = [other.key for other in self.wanted.emerging[stage.line.key]]
            points = sorted(self.wanted.points_before(stage))
            return [*(f"{stage.line.key}@{point}" for point in points), *emerging[: emerging.index(stage.key) + 1]]
        line, _, epoch = key.partition("@")
        if not epoch or line not in self.points:
            return [key]
        return [f"{line}@{point}" for point in sorted(self.points[line]) if point <= int(epoch)]

    def failed(self, failure: Failure) -> list[str]:
        """The stages that a failure prevents."""
        if failure.stage not in self.plan.ends:
            return [failure.stage]
        points = self.points.get(failure.stage, {})
        reached = [f"{failure.stage}@{at}" for at in points if failure.epoch is None or at >= failure.epoch]
        return [*reached, *(stage.key for stage in self.wanted.emerging.get(failure.stage, ()))]

    def seconds_alone(self, seconds: Mapping[str, float]) -> float:
        """Seconds of training if no epoch is shared; `seconds` has the time of one epoch, by line."""
        ends = (end for planned in self.trials for end in planned.ends.values())
        return sum(end.epochs * seconds[end.line.key] for end in ends)

    def seconds_shared(self, seconds: Mapping[str, float]) -> float:
        """Seconds of training that are left; `seconds` has the time of one epoch, by line."""
        return sum(self.inventory.missing_epochs[line] * each for line, each in seconds.items())

    def unfinished_stage(self, trial_id: str, committed: Collection[str]) -> Stage:
        """The stage at which a trial was: the first one of its program that is not committed, or else the last one."""
        stages = self.by_id[trial_id].stages
        return next((stage for key, stage in stages.items() if key not in committed), list(stages.values())[-1])
