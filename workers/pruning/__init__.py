"""Pruning: masks, the scorers that rank weights, and the selector that keeps the best of them."""

from workers.pruning.emergence import Emergence
from workers.pruning.mask import Mask
from workers.pruning.scorers import ScoreError, grasp, magnitude, random, snip, synflow
from workers.pruning.selector import best_of, drawn_of, keep_top, tie_breaker
from workers.pruning.shuffling import erk, random_global, shuffle_filters, shuffle_layers

__all__ = [
    "Emergence",
    "Mask",
    "ScoreError",
    "best_of",
    "drawn_of",
    "erk",
    "grasp",
    "keep_top",
    "magnitude",
    "random",
    "random_global",
    "shuffle_filters",
    "shuffle_layers",
    "snip",
    "synflow",
    "tie_breaker",
]
