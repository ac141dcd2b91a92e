"""Requested sweeps: a sweep file, with everything settled that depends on the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.planning.downloads import fetch_missing
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.sources import frozen, resolved
from search_spaces import SweepError, load_sweep
from search_spaces.datasets import DatasetSpec
from search_spaces.errors import TombolaError
from search_spaces.loading import name_of
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers import data
from workers.data import DatasetCard
from workers.settling.codes import Codes
from workers.settling.distances import Choices
from workers.store.backends import Store


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested sweep and its trials.

    `called` is the name for messages: the file of the sweep, if it has one. `says` is the sweep as written. `sweep` is
    the same sweep with trial ids in place of its source queries. `choices` and `codes` settled the distances and the
    plugin code of the trials.
    """

    called: str
    says: Sweep
    sweep: Sweep
    trials: tuple[Trial, ...]
    choices: Choices
    codes: Codes

    @property
    def told(self) -> list[str]:
        """Sentences on what was settled."""
        return [*self.choices.told, *self.codes.told]

    def record(self) -> None:
        """Record in the store what was settled, so that later runs settle the same."""
        self.choices.record()
        self.codes.record()


def ask(
    sweep: Sweep | Mapping[str, Any] | str | Path,
    store: Store,
    download: bool = False,
    *,
    planning: bool = False,
    keep_code: bool = False,
) -> Asked:
    """Load a sweep, and settle everything in it that depends on the store.

    With `download`, missing data sets and weights are downloaded first. For `planning`, data sets of known size may be
    missing. With `keep_code`, changed plugins count as unchanged, so that the results in the store stay valid.

    Raises:
        SweepError: if the sweep cannot be used.
    """
    says, called = load_sweep(sweep), name_of(sweep)
    choices, codes = Choices(store, planning=planning), Codes(store, keep=keep_code)
    try:
        if download:
            fetch_missing(says)
        answered = frozen(says, store)
        trials = codes.settle(choices.settle(resolved(answered.trials(), store)))
        return Asked(called, says, answered, trials, choices, codes)
    except TombolaError as error:
        raise SweepError(f"{called}: {error}") from error


def planned(asked: Asked, card_of: Callable[[DatasetSpec], DatasetCard] = data.card) -> Plan:
    """Make the plan of a requested sweep.

    Raises:
        SweepError: if its trials cannot be planned.
    """
    try:
        return make_plan(asked.trials, card_of)
    except TombolaError as error:
        raise SweepError(f"{asked.called}: {error}") from error
