"""How a discriminator fares on held-out images and on as many fakes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from workers.evaluation.batches import mean_over
from workers.models.families import GAN
from workers.randomness import generator


def adversarial(family: GAN, images: Tensor) -> dict[str, float]:
    """`discriminator_loss`: cross-entropy in nats on real plus on fake images. Accuracies: fraction told right.

    Fakes are made from N(0, 1) latents that are the same for every model.
    """
    noise = generator(0, "evaluation", device=images.device)

    def judged(batch: Tensor) -> dict[str, Tensor]:
        real = family.discriminate(batch)
        fake = family.discriminate(family.generate(family.latents(len(batch), noise)))
        return {
            "discriminator_loss": F.softplus(-real) + F.softplus(fake),
            "real_accuracy": real > 0,
            "fake_accuracy": fake < 0,
        }

    return mean_over(images, judged)
