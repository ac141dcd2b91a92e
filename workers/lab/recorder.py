"""The recorder: the laboratory that only records stages, for the plan of a sweep."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Trial
from workers import data
from workers.data import DatasetCard
from workers.lab.laboratory import Laboratory
from workers.lab.stages import Emerge, Stage


class Recorder(Laboratory):
    """A laboratory that only records the stages of a trial.

    `card_of` returns the card of a data set; it is used for the trials that this one takes a ticket from.
    """

    def __init__(
        self, trial: Trial, card: DatasetCard, card_of: Callable[[DatasetSpec], DatasetCard] = data.card
    ) -> None:
        super().__init__(trial, card)
        self._card_of = card_of

    def _another(self, trial: Trial) -> Recorder:
        return Recorder(trial, self._card_of(trial.dataset), self._card_of)

    def perform(self, stage: Stage) -> None:
        pass

    def emergence(self, stage: Emerge) -> int:
        return stage.look_back
