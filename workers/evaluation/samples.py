"""Samples: images that a model generates from N(0, 1) latents, and their distances from real images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.evaluation.distances import distances
from workers.evaluation.extractors import Extractor
from workers.evaluation.feature_set import FeatureSet, feature_set
from workers.evaluation.grid import as_bytes
from workers.models.families import GAN, VAE
from workers.randomness import generator

BATCH = 100
"""Images generated at a time. A different number would draw different latents."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What distances are measured with: a network, and its features of real images."""

    extractor: Extractor
    real: FeatureSet


def distances_of(
    family: VAE | GAN, yardstick: Yardstick, count: int, part: str, device: torch.device
) -> dict[str, float]:
    """The distances of `count` samples from the real images of a yardstick. The model must be in evaluation mode."""
    return distances(feature_set(samples(family, count, part, device), yardstick.extractor), yardstick.real)


def samples(family: VAE | GAN, count: int, part: str, device: torch.device) -> Iterator[Tensor]:
    """Generate `count` images, yielded in batches of uint8 (N, C, H, W).

    The latents are the same for every model with a code of the same size. Each `part` of the real images has latents
    of its own.
    """
    noise = generator(0, f"samples:{part}")  # on the CPU, so that latents are the same on every device
    for begin in range(0, count, BATCH):
        latents = family.latents(min(BATCH, count - begin), noise).to(device)
        yield as_bytes(family.generate(latents))
