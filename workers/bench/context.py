"""Handlers of stages, and the context that they work with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import torch

from search_spaces.datasets import DatasetSpec
from search_spaces.models import ModelSpec
from search_spaces.trial import Trial
from workers.archive.states import Archive, Point
from workers.costs.steps import narrowed
from workers.data import DatasetCard, Images, Labels, Split
from workers.lab.points import Wanted
from workers.lab.references import DENSE, MaskKey, Slim, State
from workers.lab.stages import Stage
from workers.masks import Mask
from workers.masks.scope import in_scope
from workers.models import Family, build, materialise
from workers.models.state import restore, weights_only
from workers.reports import Listener

S = TypeVar("S", bound=Stage, contravariant=True)


class Handler(Protocol[S]):
    """Performs one kind of stage."""

    def holds(self, stage: S) -> bool:
        """Whether the store has an undamaged result of the stage."""

    def make(self, stage: S) -> None:
        """Make the result of the stage. What the stage needs is in the store."""


@dataclass(frozen=True)
class Context:
    """One trial, its data, the store, and the device that it runs on.

    `wanted` is what the plan of the whole sweep wants of lines. `load` returns the images of a data set. `listen` takes
    reports. After every epoch, `stop` says whether to stop. `perform` performs another stage. `again` takes the key of
    a stage whose result has been lost, and performs the stage again.
    """

    trial: Trial
    card: DatasetCard
    archive: Archive
    wanted: Wanted
    device: torch.device
    load: Callable[[DatasetSpec], Split]
    listen: Listener
    stop: Callable[[], bool]
    perform: Callable[[Stage], None]
    again: Callable[[str], None]
    _narrow: dict[Slim, ModelSpec] = field(default_factory=dict)

    def mask(self, key: MaskKey) -> Mask:
        """Return a mask; make it again if it was damaged or lost."""
        if key == DENSE:
            scope = self.trial.finder.scope if self.trial.finder else None
            return Mask.dense(in_scope(self.built(None), scope))
        mask = self.archive.mask(key)
        if mask is None:
            self.again(key)
            mask = self.archive.mask(key)
            assert mask is not None, f"mask {key} is gone right after it was made"
        return mask

    def point(self, state: State, *, moments: bool = False) -> Point:
        """Return a state; make it again if it was damaged or lost.

        With `moments`, it has the moments that training needs to continue.
        """
        point = self.archive.point(state, moments=moments)
        if point is None:
            self.again(state.stage)
            point = self.archive.point(state, moments=moments)
            assert point is not None, f"state {state.key} is gone right after it was made"
        return point

    def family_at(self, state: State) -> Family:
        """Return the network in a state, on the device, without optimizers."""
        family = self.built(state.line.slim)
        materialise(family, self.device)
        restore(weights_only(self.point(state).tensors), family, {})
        return family

    def built(self, slim: Slim | None) -> Family:
        """Build the trial's model, narrowed to `slim`, with parameters on the meta device."""
        return build(self.spec(slim), self.card.image, self.trial.recipe.precision)

    def spec(self, slim: Slim | None) -> ModelSpec:
        """Return the spec of the trial's model, narrowed to `slim`."""
        if slim is None:
            return self.trial.model
        if slim not in self._narrow:
            whole = (self.trial.model, self.card.image, self.trial.recipe.batch)
            self._narrow[slim] = narrowed(*whole, self.mask(slim.mask), slim.equal)
        return self._narrow[slim]

    @cached_property
    def train_images(self) -> torch.Tensor:
        """All training images: uint8 (N, channels, height, width), on the device."""
        return self.on_device(self.load(self.trial.dataset).train)

    def on_device(self, images: Images | Labels) -> torch.Tensor:
        with warnings.catch_warnings():
            # Images shared between processes are read-only. Torch warns about that, but nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(images).to(self.device)
