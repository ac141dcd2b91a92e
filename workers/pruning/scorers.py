"""Scorers: how much each weight is worth, as pure functions; higher means keep."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def magnitude(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The absolute value of every weight (Han et al. 2015)."""
    return {name: p.detach().abs() for name, p in parameters.items()}


def random(parameters: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform draws: each weight as likely to be kept as any other."""
    return {name: torch.rand(p.shape, generator=generator, device=generator.device) for name, p in parameters.items()}
