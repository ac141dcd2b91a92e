"""Evaluation of a trained model on held-out data; the model stays as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from search_spaces.trial import Evaluation
from workers.endings import Diverged
from workers.evaluation.adversarial import adversarial
from workers.evaluation.downstream import Judge, downstream_accuracy
from workers.evaluation.grid import pictures
from workers.evaluation.reconstruction import active_units, elbo, reconstruction_mse
from workers.evaluation.samples import Yardstick, distances_of
from workers.measures.metrics import AVERAGED
from workers.models.families import GAN, VAE, Autoencoder, Family
from workers.models.images import normalised
from workers.randomness import global_generators


def evaluate(
    family: Family,
    held_out: Tensor,
    evaluation: Evaluation,
    yardstick: Yardstick | None = None,
    judge: Judge | None = None,
    part: str = "held_out",
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Measure a model on the first `evaluation.samples` held-out images; return its metrics by name and PNGs by kind.

    `held_out` are uint8 images on the model's device. Distances are measured only with a `yardstick`, and downstream
    accuracy only with a `judge`. `part` names the purpose of the images and seeds the fakes. So the fakes that select
    an epoch differ from those of the reported metrics.

    Layers that draw random numbers draw the same ones in every evaluation.

    Raises:
        Diverged: if a metric is NaN or infinite.
    """
    with _undisturbed(family), global_generators(0, f"evaluation:{part}", device=held_out.device):
        images = normalised(held_out[: evaluation.samples])
        metrics: dict[str, float] = {}
        if isinstance(family, Autoencoder | VAE):
            metrics |= reconstruction_mse(family, images)
        if isinstance(family, VAE):
            metrics |= elbo(family, images) | active_units(family, images)
        if isinstance(family, GAN):
            metrics |= adversarial(family, images)
        if isinstance(family, VAE | GAN) and yardstick:
            metrics |= distances_of(family, yardstick, evaluation.compared, part, images.device)
            if isinstance(family, GAN) and family.copies:
                averaged = distances_of(family.averaged(), yardstick, evaluation.compared, part, images.device)
                metrics |= {f"{AVERAGED}{name}": value for name, value in averaged.items()}
        if isinstance(family, Autoencoder | VAE) and judge:
            metrics |= downstream_accuracy(family, images, judge)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} on held-out images")
        return metrics, pictures(family, images, evaluation.grid) if evaluation.grid else {}


@contextmanager
def _undisturbed(family: Family) -> Iterator[None]:
    """Switch to evaluation mode in fp32 without gradients, and afterwards restore the mode of every module."""
    modes, precision = {module: module.training for module in family.networks.modules()}, family.precision
    family.networks.eval()
    family.precision = "fp32"
    try:
        with torch.no_grad():
            yield
    finally:
        family.precision = precision
        for module, training in modes.items():
            module.training = training
