"""Wasserstein GANs: a critic with a bounded slope replaces the discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from workers.models.families.gan import GAN


class WassersteinGAN(GAN):
    """A Wasserstein GAN: one update of the generator follows every `critic_steps` updates of the critic.

    Source: Arjovsky et al. (2017). `bound` limits the critic's slope. It is the limit to which parameters are clipped,
    or the weight of a penalty.
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
    """A Wasserstein GAN that clips the critic's parameters to [-bound, bound] after each of its updates."""

    def updated(self, phase: str) -> None:
        super().updated(phase)
        if phase == "discriminator":
            parameters = [p.detach() for p in self.parameters_of(phase)]
            torch._foreach_clamp_min_(parameters, -self.bound)
            torch._foreach_clamp_max_(parameters, self.bound)


class PenalisedWGAN(WassersteinGAN):
    """A Wasserstein GAN with the gradient penalty of Gulrajani et al. (2017), equation 3.

    The penalty is bound * E[(|grad D(x)| - 1)^2], with x drawn on the line between a real image and a fake.
    """

    def penalties(self, images: Tensor, fakes: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        share = torch.rand(len(images), 1, 1, 1, generator=noise, device=noise.device)
        between = torch.lerp(fakes, images, share)
        if not between.requires_grad:
            between.requires_grad_()
        # Always fp32: the penalty needs the small difference between a norm and 1, differentiated twice. bf16 has too
        # few digits for that.
        outputs = self.run("discriminator", between, precision="fp32")
        (slopes,) = torch.autograd.grad(outputs.sum(), between, create_graph=True)
        return {"gradient_penalty": self.bound * (slopes.flatten(1).norm(dim=1) - 1).square().mean()}
