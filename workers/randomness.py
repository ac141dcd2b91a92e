"""Random generators made from a seed, a purpose and an epoch, and temporary seeds for the global generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from search_spaces.base.canonical import digest

_CPU = torch.device("cpu")


def generator(seed: int, purpose: str, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator; equal seed, purpose, epoch and kind of device give equal draws."""
    made = torch.Generator(device=device)
    made.manual_seed(int(digest([seed, purpose, epoch])[:15], 16))
    return made


@contextmanager
def global_generators(seed: int, purpose: str, epoch: int = 0, device: torch.device = _CPU) -> Iterator[None]:
    """Seed the global generators as `generator` would be seeded, and restore them afterwards.

    Layers such as dropout draw only from global generators. `device` is where they draw.
    """
    with seeded(generator(seed, purpose, epoch).initial_seed(), device):
        yield


@contextmanager
def seeded(seed: int, device: torch.device = _CPU) -> Iterator[None]:
    """Seed the global generators of torch (on the CPU and on `device`), NumPy and Python; restore them afterwards.

    Generators of other devices do not change.
    """
    gpus = [device] if device.type == "cuda" else []
    numpy, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=gpus):
        try:
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)
