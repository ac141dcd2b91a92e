"""The recorder: the laboratory that does nothing but remember, which is how a sweep is planned."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Trial
from workers import data
from workers.data import DatasetCard
from workers.lab.laboratory import Laboratory
from workers.lab.stages import Emerge, Stage


class Recorder(Laboratory):
    """A laboratory that does nothing but remember what it was asked for.

    `card_of` gives the card of the data set of a trial beside this one.
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
