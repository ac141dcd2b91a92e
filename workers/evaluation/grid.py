"""Pictures: what a model makes, to look at."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from workers.models.families import GAN, VAE, Autoencoder, Family
from workers.randomness import generator


def picture(family: Family, images: Tensor, side: int) -> bytes:
    """A PNG of side x side images: samples from N(0, 1) latents, or for an autoencoder its reconstructions."""
    if isinstance(family, VAE | GAN):
        shown = family.generate(family.latents(side * side, generator(0, "grid", device=images.device)))
    else:
        assert isinstance(family, Autoencoder)
        shown = family.reconstruct(images[: side * side])
    return png(shown, side)


def png(images: Tensor, side: int) -> bytes:
    """Images (N, C, H, W) in [-1, 1] row by row in a grid of `side` columns; places left over stay black."""
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    count, channels, height, width = pixels.shape
    canvas = torch.zeros(side * side, channels, height, width, dtype=torch.uint8)
    canvas[:count] = pixels
    tiled = canvas.reshape(side, side, channels, height, width).permute(0, 3, 1, 4, 2)
    table = tiled.reshape(side * height, side * width, channels).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(table).save(file, format="PNG")
    return file.getvalue()
