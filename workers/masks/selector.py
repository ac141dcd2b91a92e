"""The selector: make a mask with an exact number of weights from scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from workers.masks.mask import Mask
from workers.randomness import generator

Ranking = Literal["global", "per_component", "layerwise"]


def keep_top(
    scores: Mapping[str, Tensor],
    density: float,
    within: Mask | None = None,
    ranking: Ranking = "global",
    noise: torch.Generator | None = None,
) -> Mask:
    """Keep the weights with the highest scores: exactly `round(N * density)` of the N weights ranked together.

    `ranking` says which weights are ranked together: all of them, those of one component (the first part of a name), or
    those of one tensor. If scores are equal at the cut, `noise` draws the weights to keep among them. It defaults to
    the tie breaker of seed 0. With `within`, only weights that this mask keeps can be kept.

    Raises:
        ValueError: if a score is NaN, the density is outside [0, 1], or `within` keeps too few.
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density {density} is outside [0, 1]")
    kept: dict[str, Tensor] = {}
    noise = noise or tie_breaker(0)
    for members in ranked_together(scores, ranking):
        kept |= _top_of({name: scores[name] for name in members}, density, within, noise)
    return Mask({name: kept[name] for name in scores})


def drawn_of(scores: Mapping[str, Tensor], kept: Mask, within: Mask | None = None, ranking: Ranking = "global") -> Mask:
    """The part of `kept` that ties decided: the entries that score no higher than a removed entry ranked with them."""
    drawn: dict[str, Tensor] = {}
    for members in ranked_together(scores, ranking):
        flat = _flat({name: scores[name] for name in members})
        best = _flat({name: kept[name] for name in members}).to(flat.device)
        removed = ~best if within is None else ~best & _flat({name: within[name] for name in members}).to(flat.device)
        among = best & (flat <= flat[removed].max()) if removed.any() else torch.zeros_like(best)
        drawn |= _in_shape(among, {name: scores[name] for name in members})
    return Mask({name: drawn[name] for name in scores})


def best_of(scores: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """The indices (count,) of the highest of `scores` (N,). If scores are equal at the cut, `noise` draws."""
    order = scores.sort(descending=True, stable=True).indices
    if not 0 < count < len(scores) or scores[order[count - 1]] != scores[order[count]]:
        return order[:count]
    edge = scores[order[count]]
    above, tied = order[: int((scores > edge).sum())], (scores == edge).nonzero().flatten()
    # drawn on the CPU, so that the draw does not depend on the device of the scores
    drawn = torch.randperm(len(tied), generator=noise)[: count - len(above)]
    return torch.cat([above, tied[drawn.to(tied.device)]])


def tie_breaker(seed: int) -> torch.Generator:
    """The generator that draws among equal scores, for `seed`."""
    return generator(seed, "ties")


def ranked_together(names: Iterable[str], ranking: Ranking) -> list[list[str]]:
    """Sort the names of tensors into groups. The entries of a group are ranked together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        group = {"global": "", "per_component": name.split(".")[0], "layerwise": name}[ranking]
        groups.setdefault(group, []).append(name)
    return list(groups.values())


def _top_of(
    scores: Mapping[str, Tensor], density: float, within: Mask | None, noise: torch.Generator
) -> dict[str, Tensor]:
    flat = _flat(scores)
    if flat.isnan().any():
        raise ValueError("a score is NaN: the weights cannot be ranked")
    candidates = torch.arange(len(flat), device=flat.device)
    if within is not None:
        if any(name not in within or within[name].shape != score.shape for name, score in scores.items()):
            raise ValueError("the mask to stay within is of another network: its tensors differ in name or shape")
        candidates = candidates[_flat({name: within[name] for name in scores}).to(flat.device)]
    count = round(len(flat) * density)
    if count > len(candidates):
        raise ValueError(f"cannot keep {count} weights: only {len(candidates)} are left to choose from")
    best = best_of(flat[candidates], count, noise)
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[candidates[best]] = True
    return _in_shape(chosen, scores)


def _flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """Join the entries of all tensors into one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors.values()])


def _in_shape(flat: Tensor, of: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split a vector from `_flat` into tensors with the names and shapes of `of`."""
    parts = flat.split([tensor.numel() for tensor in of.values()])
    return {name: part.reshape(tensor.shape) for (name, tensor), part in zip(of.items(), parts, strict=True)}
