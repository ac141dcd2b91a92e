"""The time that a plan is expected to take, from the profiles of what it trains and measures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.planning.inventory import Inventory
from orchestrator.planning.plan import PlannedTrial
from workers.lab.stages import Evaluate, Features, Fit, Select
from workers.profiles.profile import Profile

MEASURES = Fit | Features | Evaluate | Select
"""Stages that measure, or make what measuring needs."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected seconds: of an epoch by line, of a stage without epochs by key, of a trial without stages by id.

    `measures` has the keys of the stages that measure.
    """

    epochs: Mapping[str, float]
    stages: Mapping[str, float]
    trials: Mapping[str, float]
    measures: Collection[str]

    def remaining(self, inventory: Inventory, unfinished: Collection[str]) -> Remaining:
        """Work that is left with this inventory of the store, if the trials in `unfinished` have not ended."""
        missing = [key for key in self.stages if key not in inventory.held]
        epochs = sum(inventory.missing_epochs[line] * seconds for line, seconds in self.epochs.items())
        measuring = sum(self.stages[key] for key in missing if key in self.measures)
        others = sum(self.stages[key] for key in missing if key not in self.measures)
        return Remaining(epochs + others + sum(self.trials[trial] for trial in unfinished), measuring)


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds of work, one trial at a time: `measuring`, and `training` with all other work."""

    training: float
    measuring: float

    @property
    def seconds(self) -> float:
        return self.training + self.measuring


def expect(planned: Iterable[PlannedTrial], profiles: Mapping[str, Profile]) -> Expected:
    """The time that trials are expected to take; `profiles` has the profiles of all that they train, by trial id."""
    epochs: dict[str, float] = {}
    stages: dict[str, float] = {}
    trials: dict[str, float] = {}
    measures: set[str] = set()
    for each in planned:
        trials[each.trial.id] = profiles[each.trial.id].trial_seconds
        epochs |= {line: profiles[each.makers[line].id].epoch_seconds for line in each.ends}
        for key, stage in each.stages.items():
            if key not in stages:
                stages[key] = profiles[each.makers[key].id].seconds_of(stage)
                if isinstance(stage, MEASURES):
                    measures.add(key)
    return Expected(epochs, stages, trials, measures)
