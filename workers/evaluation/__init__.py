"""Evaluation: what a trained model is worth, on held-out data, leaving no trace in the model."""

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
    """The metrics of a model on the first `samples` of held-out images (uint8, on its device), and PNGs by kind.

    Distances are measured with a yardstick, downstream accuracy with a judge, each where there is one. `part` names
    what the images are held out for: fakes by which an epoch is selected are not those that are reported on.

    Layers that draw by themselves draw the same each time.

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
    """Evaluation mode in fp32 without gradients; afterwards every module is in the mode it was in."""
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
