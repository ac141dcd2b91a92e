"""Sparsities, and the grid of pruning rounds."""

from __future__ import annotations

import math

GRID_RATE = 0.2
"""Share of the remaining weights that one round of the grid removes (Kalibhat et al. 2021)."""

_DIGITS = 12
_SNAP = 1e-9


def density_after(rounds: int, rate: float = GRID_RATE) -> float:
    """The density `(1 - rate)^rounds`, rounded to 12 digits as in keys."""
    return round((1.0 - rate) ** rounds, _DIGITS)


def sparsity_after(rounds: int) -> float:
    """The sparsity after a number of rounds of the grid: 0.2, 0.36, 0.488, ..."""
    return round(1.0 - density_after(rounds), _DIGITS)


def snapped(sparsity: float) -> float:
    """Round `sparsity` to 12 digits. Within 1e-9 of a round of the grid, return the sparsity of that round.

    Raises:
        ValueError: if it lies outside [0, 1).
    """
    if not 0.0 <= round(sparsity, _DIGITS) < 1.0:
        hint = f"; write {sparsity / 100:g} for {sparsity:g} %" if 1.0 <= sparsity < 100.0 else ""
        raise ValueError(f"sparsity {sparsity:g} is outside [0, 1){hint}")
    rounds = round(math.log(1.0 - sparsity) / math.log(1.0 - GRID_RATE))
    on_grid = sparsity_after(rounds)
    return on_grid if abs(sparsity - on_grid) <= _SNAP else round(sparsity + 0.0, _DIGITS)


def density_of(sparsity: float) -> float:
    """The density that belongs to a sparsity, rounded to 12 digits as in keys."""
    return round(1.0 - sparsity, _DIGITS)


def geometric(target: float, rate: float) -> list[float]:
    """List the densities of the rounds from dense to density `target`. The last one is exactly `target`.

    Every round removes the fraction `rate` of what is left; the last round may remove less. So different targets on one
    grid share their common rounds.
    """
    densities: list[float] = []
    while (density := density_after(len(densities) + 1, rate)) > target + _SNAP:
        densities.append(density)
    return [*densities, target] if target < 1.0 else []
