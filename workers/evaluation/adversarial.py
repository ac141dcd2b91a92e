"""Loss and accuracy of a discriminator on held-out images and on as many fakes."""

from __future__ import annotations

from torch import Tensor

from workers.evaluation.batches import mean_over
from workers.models.families import GAN
from workers.randomness import generator


def adversarial(family: GAN, images: Tensor) -> dict[str, float]:
    """The discriminator's loss and accuracies, averaged over `images` and as many fakes.

    `discriminator_loss` is the model's own loss, on real plus on fake images. `real_accuracy` and `fake_accuracy` are
    the fractions that are classified right; a critic has no threshold, and so no accuracies. Fakes are made from
    N(0, 1) latents, the same for every model with a code of the same size.
    """
    noise = generator(0, "evaluation", device=images.device)

    def judged(batch: Tensor) -> dict[str, Tensor]:
        real = family.discriminate(batch)
        fake = family.discriminate(family.generate(family.latents(len(batch), noise)))
        measured = {"discriminator_loss": family.on_real(real) + family.on_fakes(fake)}
        if family.threshold is not None:
            measured |= {"real_accuracy": real > family.threshold, "fake_accuracy": fake < family.threshold}
        return measured

    return mean_over(images, judged)
