"""Pruning: masks, the scorers that rank weights, and the selector that keeps the best of them."""

from workers.pruning.mask import Mask
from workers.pruning.scorers import magnitude, random
from workers.pruning.selector import keep_top
from workers.pruning.shuffling import shuffle_layers

__all__ = ["Mask", "keep_top", "magnitude", "random", "shuffle_layers"]
