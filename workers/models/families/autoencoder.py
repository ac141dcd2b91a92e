"""Autoencoders: networks that restore an image from its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.models.families.family import Family, Loss


class Autoencoder(Family):
    """An autoencoder that minimises the mean squared error per pixel."""

    phases: ClassVar = {"autoencoder": ("encoder", "decoder")}
    bodies: ClassVar = {"encoder": "encode", "decoder": "decode"}

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        loss = F.mse_loss(self.reconstruct(images), images)
        yield Loss("autoencoder", loss, {"reconstruction_mse": loss})

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.run("decoder", self.run("encoder", images))
