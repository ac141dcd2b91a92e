"""Generative adversarial networks (Goodfellow et al. 2014) with the non-saturating loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.models.families.family import Family, Loss


class GAN(Family):
    """One update of the discriminator, then one of the generator on the same fakes."""

    phases: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}
    bodies: ClassVar = {"discriminator": "encode", "generator": "decode"}
    logits: ClassVar = ("discriminator",)

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        fakes = self.generate(self.latents(len(images), noise))
        loss = self.discriminator_loss(images, fakes.detach())
        yield Loss("discriminator", loss, {"discriminator_loss": loss})
        loss = _cross_entropy(self.discriminate(fakes), real=True)
        yield Loss("generator", loss, {"generator_loss": loss})

    def joint_loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """L_D + L_G on the same fakes, through which the generator has gradients of both."""
        fakes = self.generate(self.latents(len(images), noise))
        return self.discriminator_loss(images, fakes) + _cross_entropy(self.discriminate(fakes), real=True)

    def discriminator_loss(self, images: Tensor, fakes: Tensor) -> Tensor:
        """Binary cross-entropy on real images plus that on fakes, each averaged over its images, in nats."""
        real = _cross_entropy(self.discriminate(images), real=True)
        return real + _cross_entropy(self.discriminate(fakes), real=False)

    def discriminate(self, images: Tensor) -> Tensor:
        """Logits (N,) that an image is real."""
        return self.run("discriminator", images).flatten()

    def generate(self, latents: Tensor) -> Tensor:
        return self.run("generator", latents)


def _cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    # -log sigmoid(l) = softplus(-l) for a real image, -log(1 - sigmoid(l)) = softplus(l) for a fake
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
