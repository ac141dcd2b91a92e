"""Choose the hidden channels of a network that a mask keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces.criterion import Criterion
from workers.channels.kept import ChannelGroup, expand, groups_within
from workers.masks import Mask, best_of, drawn_of, keep_top, tie_breaker
from workers.masks.scope import CriterionError, in_scope
from workers.masks.selector import Ranking, ranked_together
from workers.models import Family
from workers.pruning.chosen import Chosen


def choose_channels(family: Family, by: Criterion, density: float, ties: int) -> Chosen:
    """Choose the best channels of a network's hidden layers. `density` is the fraction of channels to keep.

    `ties` is the seed of the draw among equal scores.

    Raises:
        CriterionError: if the network has no channels to remove, or no scores to rank them by.
    """
    assert by.channels is not None
    parameters = in_scope(family, by.scope)
    groups = groups_within(family.networks, parameters)
    if not groups:
        raise CriterionError("there are no channels to choose from: hidden layers in a chain, inside of the scope")
    scores, scored_by = _channel_scores(family, groups, by)
    ranking = by.scope.ranking if by.scope else "global"
    noise = tie_breaker(ties)
    floored = {name: _floored(score, by.channels.minimum, noise) for name, score in scores.items()}
    if all(score.isinf().all() for score in floored.values()):
        raise CriterionError(
            f"minimum: with {by.channels.minimum} channels of every layer kept there is none to remove"
        )
    kept = _best(floored, density, ranking, noise)
    drawn = drawn_of(floored, kept, ranking=ranking)
    if by.channels.round_to:
        kept = _rounded(floored, kept, by.channels.round_to, noise)
    # Floored scores hide ties for the minimum of a layer, because they are all infinite.
    drawn |= drawn_of(scores, kept, ranking="layerwise")
    return Chosen(kept, expand(groups, kept, parameters), drawn, scored_by)


def _floored(score: Tensor, minimum: int, noise: torch.Generator) -> Tensor:
    """Raise the best `minimum` scores of a layer to infinity, so that the layer keeps these channels."""
    return score.index_fill(0, best_of(score, minimum, noise), torch.inf)


def _best(floored: Mapping[str, Tensor], density: float, ranking: Ranking, noise: torch.Generator) -> Mask:
    """Keep a fraction `density` of the channels ranked together, but at least the minimum of every layer."""
    kept: dict[str, Tensor] = {}
    for names in ranked_together(floored, ranking):
        together = {name: floored[name] for name in names}
        least = float(torch.cat(list(together.values())).isinf().double().mean())
        kept |= keep_top(together, max(density, least), noise=noise)
    return Mask({name: kept[name] for name in floored})


def _rounded(floored: Mapping[str, Tensor], kept: Mask, multiple: int, noise: torch.Generator) -> Mask:
    """Round the number of kept channels in each layer to the nearest multiple of `multiple`.

    Each layer keeps at least its minimum, and at most all of its channels.
    """
    rounded = {}
    for name, score in floored.items():
        least = math.ceil(int(score.isinf().sum()) / multiple)
        count = min(max(least, round(kept.counts[name] / multiple)) * multiple, len(score))
        best = best_of(score, count, noise)
        rounded[name] = torch.zeros(len(score), dtype=torch.bool).index_fill(0, best.cpu(), True)
    return Mask(rounded)


def _channel_scores(family: Family, groups: list[ChannelGroup], by: Criterion) -> tuple[dict[str, Tensor], str]:
    """The scores of the channels of each group, by its name, and the kind of score: `gamma` or `filter_norm`."""
    assert by.channels is not None
    tensors = dict(family.networks.named_parameters())
    sign = -1.0 if by.keep == "worst" else 1.0
    normed = [group for group in groups if group.gammas]
    if len(normed) == len(groups):
        scales = {g.name: sum(tensors[gamma].detach().abs() for gamma in g.gammas) for g in groups}
        return {name: sign * torch.as_tensor(scale) for name, scale in scales.items()}, "gamma"
    if by.channels.fallback is None:
        raise CriterionError(
            "channels are ranked by the scales of their batch norms, which this network lacks; "
            "fallback: filter_norm ranks them by the norms of their filters"
        )
    return {group.name: sign * _filter_norms(group, tensors) for group in groups}, "filter_norm"


def _filter_norms(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """The Euclidean norm of the weights that make each channel (Li et al. 2017, with squares for absolute values)."""
    squares = [
        tensors[part.tensor].detach().square().movedim(part.axis, 0).reshape(group.size, -1).sum(1)
        for part in group.outputs
    ]
    return torch.stack(squares).sum(0).sqrt()
