"""Handlers of the stages that make masks."""

from __future__ import annotations

import time
from typing import Any

import torch

from search_spaces.criterion import Criterion
from workers.bench import Context
from workers.costs.flops import FlopCounter
from workers.lab.references import DENSE, MaskKey, State
from workers.lab.stages import Emerge, Move, Prune, Redraw
from workers.models import build
from workers.pruning.choose import choose
from workers.pruning.controls import redraw
from workers.pruning.transfer import move_mask
from workers.randomness import generator


class PruneHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Prune) -> bool:
        archive = self._context.archive
        return archive.mask(stage.key) is not None and archive.pruning(stage.key) is not None

    def make(self, stage: Prune) -> None:
        choose_in(self._context, stage, stage.state, stage.within)


class RedrawHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Redraw) -> bool:
        return self._context.archive.mask(stage.key) is not None

    def make(self, stage: Redraw) -> None:
        context = self._context
        noise = generator(context.trial.seed.init, stage.draw)
        mask = redraw(context.built(None), context.mask(stage.mask), stage.how, noise)
        context.archive.commit_mask(stage.key, mask)


class MoveHandler:
    def __init__(self, context: Context) -> None:
        self._context = context

    def holds(self, stage: Move) -> bool:
        return self._context.archive.mask(stage.key) is not None

    def make(self, stage: Move) -> None:
        context = self._context
        giver = build(stage.giver.model, stage.giver.image)
        moved = move_mask(context.mask(stage.mask), giver, context.built(None), stage.bodies)
        context.archive.commit_mask(stage.key, moved)


def choose_in(context: Context, stage: Prune | Emerge, state: State, within: MaskKey, **known: Any) -> None:
    """Choose the mask of a stage in `state`, and commit it with its costs and the facts in `known`."""
    family = context.family_at(state)
    inside = None if within == DENSE else context.mask(within)
    began = (time.perf_counter(), time.process_time())
    with FlopCounter() as counted:
        images = _looked_at(context, stage.by)
        seed = context.trial.seed
        chosen = choose(family, stage.by, stage.density, inside, images, seed.order, seed.init)
    took = {"seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
    found = {"scored_by": chosen.scored_by, "tied_share": chosen.tied_share}
    fact = {**found, "flops": counted.total, **took, **known}
    context.archive.commit_pruning(stage.key, chosen.mask, fact)


def _looked_at(context: Context, by: Criterion) -> torch.Tensor:
    """The training images that a criterion looks at. Without any, an empty tensor with the shape of images."""
    if by.images is None:
        return torch.empty(0, *context.card.image, dtype=torch.uint8, device=context.device)
    order = torch.randperm(context.card.train, generator=generator(context.trial.seed.order, "look"))
    return context.train_images[order[: by.images].to(context.device)]
