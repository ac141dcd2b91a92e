"""Generative models, composed of a backbone and a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from search_spaces import models as specs
from workers.models.backbones import ConvBackbone, MLPBackbone
from workers.models.families import GAN, VAE, Autoencoder, Family
from workers.randomness import generator

Image = tuple[int, int, int]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def linear_autoencoder(spec: specs.LinearAutoencoder, image: Image, precision: str) -> Family:
    backbone = MLPBackbone(image, spec.width)
    encoder, decoder = backbone.encoder("to_code", spec.latent), backbone.decoder("from_code", spec.latent)
    return Autoencoder({"encoder": encoder, "decoder": decoder}, spec.latent, precision)


def vae(spec: specs.VAE, image: Image, precision: str) -> Family:
    backbone = ConvBackbone(image, spec.width, stages=4)
    encoder = backbone.encoder("to_posterior", 2 * spec.latent, norm_head=True)
    decoder = backbone.decoder("from_posterior", spec.latent)
    return VAE({"encoder": encoder, "decoder": decoder}, spec.latent, precision, spec.beta)


def dcgan(spec: specs.DCGAN, image: Image, precision: str) -> Family:
    backbone = ConvBackbone(image, spec.width, stages=3)
    networks = {
        "discriminator": backbone.encoder("to_logit", 1),
        "generator": backbone.decoder("from_noise", spec.latent),
    }
    return GAN(networks, spec.latent, precision)


builders: dict[str, Callable[[Any, Image, str], Family]] = {
    "linear_autoencoder": linear_autoencoder,
    "vae": vae,
    "dcgan": dcgan,
}


def build(spec: specs.ModelSpec, image: Image, precision: str = "fp32") -> Family:
    """The model of `spec` for images (channels, height, width), on the meta device, without weights.

    Raises:
        ValueError: if the model cannot be built for such images.
    """
    with torch.device("meta"):
        return builders[spec.name](spec, image, precision)


def materialise(family: Family, device: torch.device) -> None:
    """Give a model from `build` uninitialised weights on `device`, laid out channels_last."""
    family.networks.to_empty(device=device)
    family.networks.to(memory_format=torch.channels_last)


def initialise(family: Family, seed: int, draw: str) -> None:
    """Draw first weights: kernels and biases uniform in ±1/sqrt(fan-in), PyTorch's own defaults; norms neutral.

    Each tensor has a generator of its own, seeded by its role, so a tensor's draw depends on nothing but its
    role and shape: models that share a role start it alike.
    """
    draw_weights(family.networks, lambda name: generator(seed, f"{draw}:{family.role(name)}"))


def draw_weights(network: nn.Module, noise: Callable[[str], torch.Generator]) -> None:
    """Draw the weights of every layer of a network, each tensor with the generator that `noise` gives for its name."""
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            for kind, tensor in module.named_parameters():
                values = torch.empty(tensor.shape).uniform_(-bound, bound, generator=noise(f"{name}.{kind}"))
                with torch.no_grad():
                    tensor.copy_(values)


__all__ = ["NORMS", "Family", "build", "builders", "draw_weights", "initialise", "materialise"]
