"""Variational autoencoders (Kingma and Welling 2014), with the weight beta of Higgins et al. (2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from workers.models.families.family import Family, Loss


class VAE(Family):
    """A VAE that minimises E||x - D(z)||^2 + beta KL(q(z|x) || N(0, 1)).

    Both terms are sums over an image and means over images. With beta = 1, this is the negative ELBO for pixels that
    are Gaussian with variance 1/2, up to a constant.
    """

    phases: ClassVar = {"vae": ("encoder", "decoder")}
    bodies: ClassVar = {"encoder": "encode", "decoder": "decode"}

    def __init__(self, networks: Mapping[str, nn.Module], latent: int, precision: str, beta: float) -> None:
        super().__init__(networks, latent, precision)
        self.beta = beta

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        reconstruction, kl = self.terms(images, noise)
        loss = reconstruction.mean() + self.beta * kl.mean()
        yield Loss("vae", loss, {"reconstruction": reconstruction.mean(), "kl": kl.mean()})

    def terms(self, images: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """The squared reconstruction error and the KL in nats of each image: (N,), (N,).

        The error is that of one random code for each image.
        """
        mean, log_variance = self.posterior(images)
        code = mean + (0.5 * log_variance).exp() * self.latents(len(images), noise)
        error = (self.run("decoder", code) - images).square().flatten(1).sum(1)
        # Kingma and Welling (2014), appendix B: KL = -1/2 sum(1 + log s^2 - m^2 - s^2)
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)
        return error, kl

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x): (N, latent) each."""
        mean, log_variance = self.run("encoder", images).chunk(2, dim=1)
        return mean, log_variance

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstruct `images` from the mean of their codes."""
        return self.run("decoder", self.posterior(images)[0])

    def generate(self, latents: Tensor) -> Tensor:
        return self.run("decoder", latents)
