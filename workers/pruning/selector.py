"""The selector: from scores to a mask with an exact number of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from workers.pruning.mask import Mask

Ranking = Literal["global", "per_component", "layerwise"]


def keep_top(
    scores: Mapping[str, Tensor], density: float, within: Mask | None = None, ranking: Ranking = "global"
) -> Mask:
    """Keep the weights with the highest scores: exactly `round(N * density)` of the N weights ranked together.

    Weights are ranked all together, for each component (the first part of a name), or for each tensor. Ties keep
    the lowest index in parameter order. Only weights that `within` keeps can be kept.

    Raises:
        ValueError: if a score is NaN, the density is outside [0, 1], or `within` keeps too few.
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density {density} is outside [0, 1]")
    kept: dict[str, Tensor] = {}
    for members in ranked_together(scores, ranking):
        kept |= _top_of({name: scores[name] for name in members}, density, within)
    return Mask({name: kept[name] for name in scores})


def is_decided(scores: Mapping[str, Tensor], kept: Mask, ranking: Ranking = "global") -> bool:
    """Whether all that is kept scores better than all else that it is ranked with, so that no tie had a say."""
    for members in ranked_together(scores, ranking):
        flat = torch.cat([scores[name].flatten() for name in members])
        best = torch.cat([kept[name].flatten() for name in members]).to(flat.device)
        if best.any() and not best.all() and flat[best].min() <= flat[~best].max():
            return False
    return True


def ranked_together(names: Iterable[str], ranking: Ranking) -> list[list[str]]:
    """Tensors by name in the groups whose entries are ranked together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        group = {"global": "", "per_component": name.split(".")[0], "layerwise": name}[ranking]
        groups.setdefault(group, []).append(name)
    return list(groups.values())


def _top_of(scores: Mapping[str, Tensor], density: float, within: Mask | None) -> dict[str, Tensor]:
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    if flat.isnan().any():
        raise ValueError("a score is NaN: the weights cannot be ranked")
    candidates = torch.arange(len(flat), device=flat.device)
    if within is not None:
        if any(name not in within or within[name].shape != score.shape for name, score in scores.items()):
            raise ValueError("the mask to stay within is of another network: its tensors differ in name or shape")
        candidates = candidates[torch.cat([within[name].flatten() for name in scores]).to(flat.device)]
    count = round(len(flat) * density)
    if count > len(candidates):
        raise ValueError(f"cannot keep {count} weights: only {len(candidates)} are left to choose from")
    best = flat[candidates].sort(descending=True, stable=True).indices[:count]
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[candidates[best]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
