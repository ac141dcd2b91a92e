"""Random generators: each made from a seed, a purpose and an epoch, none of them global."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from search_spaces.canonical import digest


def generator(seed: int, purpose: str, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that always draws the same for the same seed, purpose, epoch and kind of device."""
    made = torch.Generator(device=device)
    made.manual_seed(int(digest([seed, purpose, epoch])[:15], 16))
    return made


@contextmanager
def global_generators(seed: int, purpose: str, epoch: int = 0) -> Iterator[None]:
    """Have torch's global generators begin as `generator` does, and afterwards be as they were.

    Layers such as dropout draw from nothing else.
    """
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, purpose, epoch).initial_seed())
        yield
