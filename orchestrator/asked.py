"""What is asked for: a sweep file as a store stands to it."""

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
    """A sweep as it `says` and with its queries answered, its trials, and how they were settled.

    Messages call it `called`: its file, if it is from one.
    """

    called: str
    says: Sweep
    sweep: Sweep
    trials: tuple[Trial, ...]
    choices: Choices
    codes: Codes

    @property
    def told(self) -> list[str]:
        """What was settled, in sentences."""
        return [*self.choices.told, *self.codes.told]

    def record(self) -> None:
        """See to it that the store remembers what was settled."""
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
    """A sweep, or that in a file, with all settled that a store has a say in; for `planning` its data may be missing.

    With `keep_code` changes of plugins make no difference to what the store holds.

    Raises:
        SweepError: if that cannot be.
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
    """The plan of its trials.

    Raises:
        SweepError: if they cannot be planned.
    """
    try:
        return make_plan(asked.trials, card_of)
    except TombolaError as error:
        raise SweepError(f"{asked.called}: {error}") from error
