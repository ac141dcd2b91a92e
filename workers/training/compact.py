"""Train a network without the channels that its mask removes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from search_spaces.trial import Recipe
from workers.channels.compaction import Compaction
from workers.lab.references import Steps
from workers.masks import Mask
from workers.models import Family, materialise
from workers.models.state import Snapshot, capture, restore
from workers.training.loop import Epoch, optimizers_of, train


class Trainee:
    """The network of a line, in the state of a snapshot, ready to train.

    If the mask removes whole channels, the network is trained without them. The parameters of `family` must be on the
    meta device.
    """

    def __init__(
        self, family: Family, mask: Mask | None, start: Snapshot, recipe: Recipe, device: torch.device
    ) -> None:
        self._start = start
        self._recipe = recipe
        self._compaction = None if mask is None else Compaction(family, mask)
        if self._compaction is not None and not self._compaction.smaller:
            self._compaction = None
        if self._compaction is None:
            self.family, self._mask = family, mask
        else:
            self.family, self._mask = self._compaction.family(), self._compaction.mask
            start = self._compaction.compact(start)
        materialise(self.family, device)
        self._optimizers = optimizers_of(self.family, recipe)
        restore(start, self.family, self._optimizers)

    def train(self, images: Tensor, seed: int, begin: int, end: int, steps: Steps) -> Iterator[Epoch]:
        """Train as `workers.training.loop.train` does."""
        return train(self.family, self._optimizers, self._mask, images, self._recipe, seed, begin, end, steps)

    def snapshot(self) -> dict[str, Tensor]:
        """The current state, in the shapes of the whole network."""
        captured = capture(self.family, self._optimizers)
        return captured if self._compaction is None else self._compaction.scatter(captured, self._start)
