"""Pruning: rank weights and channels, and choose, redraw or move masks."""

from workers.pruning.scores import ScoreError, grasp, magnitude, random, snip, synflow
from workers.pruning.shuffle import erk, random_global, shuffle_filters, shuffle_layers

__all__ = [
    "ScoreError",
    "erk",
    "grasp",
    "magnitude",
    "random",
    "random_global",
    "shuffle_filters",
    "shuffle_layers",
    "snip",
    "synflow",
]
