"""Generative adversarial networks (Goodfellow et al. 2014) with the non-saturating loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.models.families.family import Family, Loss

AVERAGE = "average"
"""The name of the network that holds the average of the generator's weights."""


class GAN(Family):
    """A GAN whose step updates the discriminator, then the generator on the same fakes.

    With `ema`, an averaged network follows the generator (Yazici et al. 2019). After each update of the generator, it
    becomes ema * average + (1 - ema) * w, for weights w and for buffers. `on_real`, `on_fakes` and `of_generator`
    compute the losses from the discriminator's outputs. An image counts as real if the output is above `threshold`.
    With `threshold` None, the outputs do not classify images.
    """

    phases: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}
    bodies: ClassVar = {"discriminator": "encode", "generator": "decode"}
    logits: ClassVar[tuple[str, ...]] = ("discriminator",)
    threshold: ClassVar[float | None] = 0.0

    def __init__(
        self, networks: Mapping[str, nn.Module], latent: int, precision: str, ema: float | None = None
    ) -> None:
        self.ema = ema
        if ema is not None:
            self.copies = {AVERAGE: "generator"}
            networks = {**networks, AVERAGE: copy.deepcopy(networks["generator"]).requires_grad_(False)}
        super().__init__(networks, latent, precision)

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        fakes = self.generate(self.latents(len(images), noise))
        loss = self.discriminator_loss(images, fakes.detach())
        penalties = self.penalties(images, fakes.detach(), noise)
        total = torch.stack([loss, *penalties.values()]).sum() if penalties else loss
        yield Loss("discriminator", total, {"discriminator_loss": loss, **penalties})
        loss = self.of_generator(self.discriminate(fakes)).mean()
        yield Loss("generator", loss, {"generator_loss": loss})

    def joint_loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """L_D + L_G, each on its own fakes. The generator has gradients from both losses.

        On shared fakes the two gradients nearly cancel, because the losses ask the generator for opposite changes.
        """
        fakes, others = (self.generate(self.latents(len(images), noise)) for _ in range(2))
        losses = [self.discriminator_loss(images, fakes), self.of_generator(self.discriminate(others)).mean()]
        return torch.stack([*losses, *self.penalties(images, fakes, noise).values()]).sum()

    def discriminator_loss(self, images: Tensor, fakes: Tensor) -> Tensor:
        """The mean loss on real images plus the mean loss on fakes."""
        return self.on_real(self.discriminate(images)).mean() + self.on_fakes(self.discriminate(fakes)).mean()

    def penalties(self, images: Tensor, fakes: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Further terms of the discriminator's loss, by the name in the log."""
        return {}

    def on_real(self, outputs: Tensor) -> Tensor:
        """The discriminator's loss on each real image: -log sigmoid(l), in nats."""
        return F.binary_cross_entropy_with_logits(outputs, torch.ones_like(outputs), reduction="none")

    def on_fakes(self, outputs: Tensor) -> Tensor:
        """The discriminator's loss on each fake: -log(1 - sigmoid(l)), in nats."""
        return F.binary_cross_entropy_with_logits(outputs, torch.zeros_like(outputs), reduction="none")

    def of_generator(self, outputs: Tensor) -> Tensor:
        """The generator's loss on each fake, by the discriminator's output: -log sigmoid(l), in nats."""
        return self.on_real(outputs)

    @torch.no_grad()
    def updated(self, phase: str) -> None:
        if phase == "generator" and self.ema is not None:
            tensors = [self._stored(name) for name in (AVERAGE, "generator")]
            averages, weights = ([t for t in of if t.is_floating_point()] for of in tensors)
            torch._foreach_lerp_(averages, weights, 1 - self.ema)
            for count, latest in zip(*tensors, strict=True):
                if not count.is_floating_point():
                    count.copy_(latest)

    def _stored(self, component: str) -> list[Tensor]:
        """The tensors in the state of a component, each once. A state lists a shared tensor under all its names."""
        return list(dict.fromkeys(self.networks[component].state_dict(keep_vars=True).values()))

    def averaged(self) -> GAN:
        """The same model, with the averaged network as its generator."""
        other = copy.copy(self)
        other.networks = nn.ModuleDict({**self.networks, "generator": self.networks[AVERAGE]})
        return other

    def discriminate(self, images: Tensor) -> Tensor:
        """One number for each image, shape (N,). Higher means more real.

        It is a logit in the families that list the discriminator in `logits`.
        """
        return self.run("discriminator", images).flatten()

    def generate(self, latents: Tensor) -> Tensor:
        return self.run("generator", latents)
