"""Masks, the selector that makes them from scores, and the detection of masks that emerge."""

from workers.masks.emergence import Emergence
from workers.masks.mask import Mask
from workers.masks.selector import best_of, drawn_of, keep_top, tie_breaker

__all__ = ["Emergence", "Mask", "best_of", "drawn_of", "keep_top", "tie_breaker"]
