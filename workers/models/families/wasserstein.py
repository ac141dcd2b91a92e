"""Wasserstein GANs: a critic, held to a bounded slope, in place of a discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from workers.models.families.gan import GAN


class WassersteinGAN(GAN):
    """Of `critic_steps` updates of the critic the last is followed by one of the generator (Arjovsky et al. 2017).

    `bound` is what holds the critic's slope: where its parameters are clipped, or the weight of a penalty.
    """

    logits: ClassVar[tuple[str, ...]] = ()
    threshold: ClassVar[float | None] = None

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        latent: int,
        precision: str,
        ema: float | None,
        critic_steps: int,
        bound: float,
    ) -> None:
        super().__init__(networks, latent, precision, ema)
        self.period = critic_steps
        self.bound = bound

    def due(self, step: int) -> int:
        return 1 if (step + 1) % self.period else 2

    def on_real(self, outputs: Tensor) -> Tensor:
        return -outputs

    def on_fakes(self, outputs: Tensor) -> Tensor:
        return outputs

    def of_generator(self, outputs: Tensor) -> Tensor:
        return -outputs


class ClippedWGAN(WassersteinGAN):
    """Every parameter of the critic is clipped to [-bound, bound] after its updates (Arjovsky et al. 2017)."""

    def updated(self, phase: str) -> None:
        super().updated(phase)
        if phase == "discriminator":
            parameters = [p.detach() for p in self.parameters_of(phase)]
            torch._foreach_clamp_min_(parameters, -self.bound)
            torch._foreach_clamp_max_(parameters, self.bound)


class PenalisedWGAN(WassersteinGAN):
    """`bound` weighs E[(|grad D(x)| - 1)^2] between real images and fakes (Gulrajani et al. 2017, eq. 3)."""

    def penalties(self, images: Tensor, fakes: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        share = torch.rand(len(images), 1, 1, 1, generator=noise, device=noise.device)
        between = torch.lerp(fakes, images, share)
        if not between.requires_grad:
            between.requires_grad_()
        # in fp32 whatever the precision: bf16 has too few digits for a norm's distance from 1, differentiated twice
        outputs = self.run("discriminator", between, precision="fp32")
        (slopes,) = torch.autograd.grad(outputs.sum(), between, create_graph=True)
        return {"gradient_penalty": self.bound * (slopes.flatten(1).norm(dim=1) - 1).square().mean()}
