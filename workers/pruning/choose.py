"""Choose a mask for a network by a criterion."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from search_spaces.base.registry import maker
from search_spaces.criterion import Criterion
from workers.masks import Mask, drawn_of, keep_top, tie_breaker
from workers.masks.scope import CriterionError, in_scope
from workers.models import Family
from workers.models.images import normalised
from workers.pruning.choose_channels import choose_channels
from workers.pruning.chosen import Chosen
from workers.pruning.criteria import Subject, scorers


def can_be_scored(family: Family, by: Criterion) -> bool:
    """Whether a criterion, which must look at no images, can be applied to a network."""
    try:
        choose_unseen(family, by, 1.0)
    except CriterionError:
        return False
    return True


def choose_unseen(family: Family, by: Criterion, density: float) -> Chosen:
    """Choose a mask as `choose` does, by a criterion that looks at no images.

    Raises:
        CriterionError: if the criterion cannot be applied to the network.
    """
    return choose(family, by, density, None, torch.empty(0, 1, 1, 1, dtype=torch.uint8), seed=0, ties=0)


def choose(
    family: Family, by: Criterion, density: float, within: Mask | None, images: Tensor, seed: int, ties: int
) -> Chosen:
    """Choose the mask of density `density` that is best by a criterion. `family` stays unchanged.

    `images` (N, C, H, W), uint8, are the images that data-dependent scores look at; N is 0 for other scores. `seed` is
    the seed of latent codes, and `ties` is the seed of the draw among equal scores.

    Raises:
        CriterionError: if the criterion cannot be applied to the network.
    """
    if by.channels is not None:
        return choose_channels(family, by, density, ties)
    family = copy.deepcopy(family)
    family.precision = "fp32"  # lower precisions are too inexact to rank weights by second derivatives
    parameters = in_scope(family, by.scope)
    ranking = by.scope.ranking if by.scope else "global"
    steps, score = by.iterations or 1, maker(scorers, by.score, "workers.pruning.criteria.scorers")
    drawn = Mask({name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in parameters.items()})
    for step in range(1, steps + 1):
        scores = score(Subject(family, parameters, by, normalised(images), seed))
        scores = {name: -score if by.keep == "worst" else score for name, score in scores.items()}
        reached = density if step == steps else density ** (step / steps)
        before, within = within, keep_top(scores, reached, within, ranking, tie_breaker(ties))
        drawn |= drawn_of(scores, within, before, ranking)
        for name, weight in parameters.items():
            weight.detach().mul_(within[name].to(weight.device))
    assert within is not None
    return Chosen(within, within, drawn, by.score)
