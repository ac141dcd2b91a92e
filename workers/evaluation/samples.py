"""Samples: what a model makes of N(0, 1) latents, and how far that is from real images."""

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
"""Images that are made at a time; with it the latents that are drawn would be others."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What distances are measured with: a network, and what it sees in real images."""

    extractor: Extractor
    real: FeatureSet


def distances_of(
    family: VAE | GAN, yardstick: Yardstick, count: int, part: str, device: torch.device
) -> dict[str, float]:
    """The distances of `count` samples, made in evaluation mode, from the real images of a yardstick."""
    return distances(feature_set(samples(family, count, part, device), yardstick.extractor), yardstick.real)


def samples(family: VAE | GAN, count: int, part: str, device: torch.device) -> Iterator[Tensor]:
    """Batches of uint8 images, from latents that are the same for every model with a code of the same size.

    For each `part` of the real images that they are compared with they are others.
    """
    noise = generator(0, f"samples:{part}")  # on the CPU, so that they are the same on every device, too
    for begin in range(0, count, BATCH):
        latents = family.latents(min(BATCH, count - begin), noise).to(device)
        yield as_bytes(family.generate(latents))
