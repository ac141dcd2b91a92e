"""Pictures of what a model generates and reconstructs."""

from __future__ import annotations

import io
import math

import torch
from PIL import Image
from torch import Tensor

from workers.models.families import GAN, VAE, Autoencoder, Family
from workers.randomness import generator


def pictures(family: Family, images: Tensor, side: int) -> dict[str, bytes]:
    """PNGs of side x side images, by kind: `samples` and `reconstructions`, as far as the family makes them.

    Samples come from N(0, 1) latents. Each row of reconstructions stands below the row of its originals, so with an
    odd side there is one row more.
    """
    made = {}
    if isinstance(family, VAE | GAN):
        latents = family.latents(side * side, generator(0, "grid")).to(images.device)
        made["samples"] = png(family.generate(latents), side)
    if isinstance(family, Autoencoder | VAE):
        originals = images[: side * math.ceil(side / 2)]
        rows = zip(originals.split(side), family.reconstruct(originals).split(side), strict=True)
        made["reconstructions"] = png(torch.cat([row for pair in rows for row in pair]), side)
    return made


def png(images: Tensor, columns: int) -> bytes:
    """A PNG of images (N, C, H, W) in [-1, 1], row by row in a grid of `columns`; empty places stay black."""
    pixels = as_bytes(images).cpu()
    count, channels, height, width = pixels.shape
    rows = math.ceil(count / columns)
    canvas = torch.zeros(rows * columns, channels, height, width, dtype=torch.uint8)
    canvas[:count] = pixels
    tiled = canvas.reshape(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    table = tiled.reshape(rows * height, columns * width, channels).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(table).save(file, format="PNG")
    return file.getvalue()


def as_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, 0 to 255."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
