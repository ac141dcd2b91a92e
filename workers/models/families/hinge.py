"""Generative adversarial networks with the hinge loss (Lim and Ye 2017)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from workers.models.families.gan import GAN


class HingeGAN(GAN):
    """A GAN with the losses of Miyato et al. (2018), equations 16 and 17."""

    logits: ClassVar[tuple[str, ...]] = ()

    def on_real(self, outputs: Tensor) -> Tensor:
        return F.relu(1 - outputs)

    def on_fakes(self, outputs: Tensor) -> Tensor:
        return F.relu(1 + outputs)

    def of_generator(self, outputs: Tensor) -> Tensor:
        return -outputs
