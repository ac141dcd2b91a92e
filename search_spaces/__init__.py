"""What to search: the schema of a sweep, and the sweeps that ship with tombola."""

from search_spaces.loading import SweepError, load_sweep
from search_spaces.sweep import Sweep
from search_spaces.trial import Recipe, Trial

__all__ = ["Recipe", "Sweep", "SweepError", "Trial", "load_sweep"]
