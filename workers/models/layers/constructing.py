"""Make the random draws of constructors depend on a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workers.randomness import seeded


@contextmanager
def constructing(seed: int) -> Iterator[None]:
    """Seed the global generators of torch (on the CPU), NumPy and Python, and fill uninitialised memory with NaN.

    Constructors and `reset_parameters` draw from global generators. On exit, all generators and settings return to
    their earlier state.
    """
    settings = torch.utils.deterministic
    was = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        settings.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    with seeded(seed), torch.device("cpu"):
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            settings.fill_uninitialized_memory = True  # type: ignore[attr-defined]
            yield
        finally:
            torch.use_deterministic_algorithms(was[0], warn_only=was[1])
            settings.fill_uninitialized_memory = was[2]  # type: ignore[attr-defined]
