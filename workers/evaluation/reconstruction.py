"""How well a model reconstructs images from their codes."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.evaluation.batches import SIZE, mean_over
from workers.models.families import VAE, Autoencoder
from workers.randomness import generator

_ACTIVE = 0.01


def reconstruction_mse(family: Autoencoder | VAE, images: Tensor) -> dict[str, float]:
    """The mean squared error of a pixel in [-1, 1]; a VAE decodes the mean of each code."""

    def error(batch: Tensor) -> dict[str, Tensor]:
        reconstructed = family.reconstruct(batch)
        if reconstructed.shape != batch.shape:
            raise ValueError(
                f"its reconstructions are of shape {tuple(reconstructed.shape)}, images {tuple(batch.shape)}"
            )
        return {"reconstruction_mse": (reconstructed - batch).square().flatten(1).mean(1)}

    return mean_over(images, error)


def elbo(family: VAE, images: Tensor) -> dict[str, float]:
    """The terms of the evidence lower bound (Kingma and Welling 2014), averaged over images, one code drawn for each.

    `reconstruction` is the squared error summed over an image, `kl` is in nats, and `elbo` is minus their sum. Up to
    a constant, `elbo` is the bound in nats for a Gaussian of variance 1/2 for each pixel. It leaves out the weight
    beta.
    """
    noise = generator(0, "evaluation", device=images.device)

    def terms(batch: Tensor) -> dict[str, Tensor]:
        reconstruction, kl = family.terms(batch, noise)
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl}

    return mean_over(images, terms)


def active_units(family: VAE, images: Tensor) -> dict[str, float]:
    """The number of active units of the code: Var_x(E[z_u | x]) > 0.01 (Burda et al. 2016, section 5.2)."""
    means = torch.cat([family.posterior(batch)[0] for batch in images.split(SIZE)])
    return {"active_units": float((means.double().var(0, correction=0) > _ACTIVE).sum())}
