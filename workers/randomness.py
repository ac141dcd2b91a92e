"""Random generators: each made from a seed, a purpose and an epoch, none of them global."""

from __future__ import annotations

import torch

from search_spaces.canonical import digest


def generator(seed: int, purpose: str, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that always draws the same for the same seed, purpose, epoch and kind of device."""
    made = torch.Generator(device=device)
    made.manual_seed(int(digest([seed, purpose, epoch])[:15], 16))
    return made
