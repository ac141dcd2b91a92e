"""Choosing: from a network and a criterion to a mask."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.criterion import Criterion, Scope
from search_spaces.errors import TombolaError
from workers.models import Family
from workers.pruning import Mask, grasp, is_decided, keep_top, magnitude, snip, synflow
from workers.pruning.channels import ChannelGroup, channel_groups, expand
from workers.pruning.selector import Ranking, ranked_together
from workers.randomness import generator
from workers.training import normalised

_CHUNK = 256


class CriterionError(TombolaError):
    """A criterion that a network has nothing for."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a criterion keeps.

    `kept` is the choice among what was ranked, weights or channels, and `mask` that among weights. `decided` says
    that no tie had a say in it, `scored_by` how it was scored.
    """

    kept: Mask
    mask: Mask
    decided: bool
    scored_by: str


Scorer = Callable[[Family, Mapping[str, Tensor], Criterion, Tensor, int], dict[str, Tensor]]
"""Scores for weights of a network, by its name: of those in a scope, on images (N, C, H, W) in [-1, 1], by a seed."""


def in_scope(family: Family, scope: Scope | None) -> dict[str, Tensor]:
    """The prunable weights of a network that are pruned.

    Raises:
        CriterionError: if nothing is left, or an exempt role is not there.
    """
    if scope is None:
        return family.prunable()
    roles = {name: family.role(name) for name in family.prunable()}
    for exempt in scope.exempt:
        if not any(_begins(role, exempt) for role in roles.values()):
            raise CriterionError(f"scope.exempt: there is no role {exempt!r}; there are {', '.join(roles.values())}")
    chosen = {
        name: weight
        for name, weight in family.prunable().items()
        if (not scope.components or name.split(".")[0] in scope.components)
        and not any(_begins(roles[name], exempt) for exempt in scope.exempt)
    }
    if not chosen:
        raise CriterionError("scope: it leaves nothing to prune")
    return chosen


def _begins(role: str, beginning: str) -> bool:
    return role == beginning or role.startswith(f"{beginning}.")


def choose(family: Family, by: Criterion, density: float, within: Mask | None, images: Tensor, seed: int) -> Chosen:
    """The mask of share `density` that is best by a criterion; nothing is left changed.

    `images` (N, C, H, W), uint8, are what data-dependent scores look at, none for others; `seed` is that of latents.

    Raises:
        CriterionError: if the network has nothing that could be scored so.
    """
    family = copy.deepcopy(family)
    family.precision = "fp32"  # in which second derivatives are exact enough to rank weights by
    if by.channels is not None:
        return _channels(family, by, density)
    parameters = in_scope(family, by.scope)
    ranking = by.scope.ranking if by.scope else "global"
    steps = by.iterations or 1
    for step in range(1, steps + 1):
        scores = scorers[by.score](family, parameters, by, normalised(images), seed)
        scores = {name: -score if by.keep == "worst" else score for name, score in scores.items()}
        reached = density if step == steps else density ** (step / steps)
        within = keep_top(scores, reached, within, ranking)
        for name, weight in parameters.items():
            weight.detach().mul_(within[name].to(weight.device))
    assert within is not None
    return Chosen(within, within, is_decided(scores, within, ranking), by.score)


def _magnitude(
    family: Family, parameters: Mapping[str, Tensor], by: Criterion, images: Tensor, seed: int
) -> dict[str, Tensor]:
    return magnitude(parameters)


def _snip(
    family: Family, parameters: Mapping[str, Tensor], by: Criterion, images: Tensor, seed: int
) -> dict[str, Tensor]:
    return _by_loss(snip, family, parameters, by, images, seed)


def _grasp(
    family: Family, parameters: Mapping[str, Tensor], by: Criterion, images: Tensor, seed: int
) -> dict[str, Tensor]:
    assert by.temperature is not None
    temperature = by.temperature
    hooks = [
        family.networks[name].register_forward_hook(lambda module, inputs, logits: logits / temperature)
        for name in family.logits
    ]
    scores = _by_loss(grasp, family, parameters, by, images, seed)
    for hook in hooks:
        hook.remove()
    return scores


def _synflow(
    family: Family, parameters: Mapping[str, Tensor], by: Criterion, images: Tensor, seed: int
) -> dict[str, Tensor]:
    scores: dict[str, Tensor] = {}
    for component, network in family.networks.items():
        inputs = images.shape[1:] if family.bodies[component] == "encode" else (family.latent,)
        scores |= {f"{component}.{name}": score for name, score in synflow(network, inputs).items()}
    return {name: scores[name] for name in parameters}


scorers: dict[str, Scorer] = {"magnitude": _magnitude, "snip": _snip, "grasp": _grasp, "synflow": _synflow}


def _by_loss(
    scorer: Callable[[Callable[[], Iterator[Tensor]], Mapping[str, Tensor]], dict[str, Tensor]],
    family: Family,
    parameters: Mapping[str, Tensor],
    by: Criterion,
    images: Tensor,
    seed: int,
) -> dict[str, Tensor]:
    """Scores by each component's own loss, or by the joint one, in training mode: batch norms see the batch."""
    family.networks.train()
    if by.loss == "joint":
        return scorer(lambda: _parts(family, None, images, seed), parameters)
    scores: dict[str, Tensor] = {}
    for phase, components in family.phases.items():
        own = {name: weight for name, weight in parameters.items() if name.split(".")[0] in components}
        if own:
            scores |= scorer(lambda phase=phase: _parts(family, phase, images, seed), own)  # type: ignore[misc]
    return {name: scores[name] for name in parameters}


def _parts(family: Family, phase: str | None, images: Tensor, seed: int) -> Iterator[Tensor]:
    """The loss of one phase, or the joint one, in chunks weighted by their size.

    Batch norms normalise by the whole batch, so a network that has any sees it unchunked.
    """
    normed = any(isinstance(module, nn.BatchNorm2d) for module in family.networks.modules())
    noise = generator(seed, "score", device=images.device)
    for chunk in images.split(len(images) if normed else _CHUNK):
        if phase is None:
            loss = family.joint_loss(chunk, noise)
        else:
            loss = next(loss.value for loss in family.losses(chunk, noise) if loss.phase == phase)
        yield loss * (len(chunk) / len(images))


def _channels(family: Family, by: Criterion, density: float) -> Chosen:
    """The best channels of the network's hidden layers, as many of them as `density` says."""
    assert by.channels is not None
    parameters = in_scope(family, by.scope)
    groups = [
        group
        for group in channel_groups(family.networks)
        if all(part.tensor in parameters for part in (*group.outputs, *group.inputs))
    ]
    if not groups:
        raise CriterionError("there are no channels to choose from: hidden layers in a chain, inside of the scope")
    scores, scored_by = _channel_scores(family, groups, by)
    ranking = by.scope.ranking if by.scope else "global"
    floored = {name: _floored(score, by.channels.minimum) for name, score in scores.items()}
    kept = _best(floored, density, ranking)
    decided = is_decided(floored, kept, ranking)
    if by.channels.round_to:
        kept = _rounded(floored, kept, by.channels.round_to)
    decided = decided and is_decided(scores, kept, "layerwise")  # nor do ties among those that a layer keeps at least
    return Chosen(kept, expand(groups, kept, parameters), decided, scored_by)


def _floored(score: Tensor, minimum: int) -> Tensor:
    """Scores among which the best `minimum` are above all others."""
    best = score.sort(descending=True, stable=True).indices[:minimum]
    return score.index_fill(0, best, torch.inf)


def _best(floored: Mapping[str, Tensor], density: float, ranking: Ranking) -> Mask:
    """A share of `density` of all that are ranked together, but no fewer than layers keep at least."""
    kept: dict[str, Tensor] = {}
    for names in ranked_together(floored, ranking):
        together = {name: floored[name] for name in names}
        least = float(torch.cat(list(together.values())).isinf().double().mean())
        kept |= keep_top(together, max(density, least))
    return Mask({name: kept[name] for name in floored})


def _rounded(floored: Mapping[str, Tensor], kept: Mask, multiple: int) -> Mask:
    """In every layer the nearest multiple of channels, but no fewer than it keeps at least; all, if it has no more."""
    rounded = {}
    for name, score in floored.items():
        least = math.ceil(int(score.isinf().sum()) / multiple)
        count = min(max(least, round(kept.counts[name] / multiple)) * multiple, len(score))
        best = score.sort(descending=True, stable=True).indices[:count]
        rounded[name] = torch.zeros(len(score), dtype=torch.bool).index_fill(0, best.cpu(), True)
    return Mask(rounded)


def _channel_scores(family: Family, groups: list[ChannelGroup], by: Criterion) -> tuple[dict[str, Tensor], str]:
    """Scores of the channels of each group by its name, and what they are."""
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
