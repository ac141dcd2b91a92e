"""Evaluation: what a trained model is worth, on held-out data, leaving no trace in the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from search_spaces.trial import Evaluation
from workers.evaluation.adversarial import adversarial
from workers.evaluation.grid import picture
from workers.evaluation.reconstruction import elbo, reconstruction_mse
from workers.models.families import GAN, VAE, Autoencoder, Family
from workers.training import Diverged, normalised

METRICS = ("reconstruction_mse", "reconstruction", "kl", "elbo", "discriminator_loss", "real_accuracy", "fake_accuracy")
"""Every metric there is; a model has those of its family."""


def evaluate(family: Family, held_out: Tensor, evaluation: Evaluation) -> tuple[dict[str, float], bytes | None]:
    """The metrics of a model on the first `samples` of the held-out images (uint8, on its device), and a PNG grid.

    Raises:
        Diverged: if a metric is NaN or infinite.
    """
    with _undisturbed(family):
        images = normalised(held_out[: evaluation.samples])
        metrics: dict[str, float] = {}
        if isinstance(family, Autoencoder | VAE):
            metrics |= reconstruction_mse(family, images)
        if isinstance(family, VAE):
            metrics |= elbo(family, images)
        if isinstance(family, GAN):
            metrics |= adversarial(family, images)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} on held-out images")
        return metrics, picture(family, images, evaluation.grid) if evaluation.grid else None


@contextmanager
def _undisturbed(family: Family) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in family.networks.modules()}
    family.networks.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
