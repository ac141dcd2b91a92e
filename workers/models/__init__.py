"""Generative models, composed of a backbone and a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from search_spaces import models as specs
from search_spaces.errors import TombolaError
from search_spaces.spec import maker
from workers.models.backbones import Backbone, ConvBackbone, MLPBackbone, Norm, PooledBackbone, ResNetBackbone
from workers.models.families import GAN, VAE, Autoencoder, ClippedWGAN, Family, HingeGAN, PenalisedWGAN
from workers.models.spectral import spare_empty_kernels
from workers.randomness import generator

Image = tuple[int, int, int]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class ModelError(TombolaError):
    """A model that cannot be composed as it is asked for."""


backbones: dict[str, Callable[[Image, int, int], Backbone]] = {
    "conv": ConvBackbone,
    "mlp": lambda image, width, stages: MLPBackbone(image, width),
    "resnet": ResNetBackbone,
}
"""From images (channels, height, width), a width, and how often the image is halved, to a backbone."""

VAE_STAGES, GAN_STAGES = 4, 3


def linear_autoencoder(spec: specs.LinearAutoencoder, image: Image, precision: str) -> Family:
    return _autoencoder(MLPBackbone(image, spec.width), spec.latent, precision)


def conv_autoencoder(spec: specs.ConvAutoencoder, image: Image, precision: str) -> Family:
    backbone = PooledBackbone(image, spec.width)
    return Autoencoder({"encoder": backbone.encoder(), "decoder": backbone.decoder()}, backbone.code, precision)


def autoencoder(spec: specs.Autoencoder, image: Image, precision: str) -> Family:
    return _autoencoder(_backbone(spec, image, VAE_STAGES), spec.latent, precision)


def _autoencoder(backbone: Backbone, latent: int, precision: str) -> Family:
    networks = {"encoder": backbone.encoder("to_code", latent), "decoder": backbone.decoder("from_code", latent)}
    return Autoencoder(networks, latent, precision)


def vae(spec: specs.VAE, image: Image, precision: str) -> Family:
    backbone = _backbone(spec, image, VAE_STAGES)
    encoder = backbone.encoder("to_posterior", 2 * spec.latent, norm_head=spec.backbone is None)
    decoder = backbone.decoder("from_posterior", spec.latent)
    return VAE({"encoder": encoder, "decoder": decoder}, spec.latent, precision, spec.beta)


def dcgan(spec: specs.DCGAN, image: Image, precision: str) -> Family:
    return GAN(_adversaries(spec, image), spec.latent, precision, spec.ema)


def sngan(spec: specs.SNGAN, image: Image, precision: str) -> Family:
    return HingeGAN(_adversaries(spec, image, norm="spectral"), spec.latent, precision, spec.ema)


def wgan(spec: specs.WGAN, image: Image, precision: str) -> Family:
    networks = _adversaries(spec, image)
    return ClippedWGAN(networks, spec.latent, precision, spec.ema, spec.critic_steps, spec.clip)


def wgan_gp(spec: specs.WGANGP, image: Image, precision: str) -> Family:
    networks = _adversaries(spec, image, norm="none")
    return PenalisedWGAN(networks, spec.latent, precision, spec.ema, spec.critic_steps, spec.penalty)


def _adversaries(spec: specs.Adversarial, image: Image, norm: Norm = "batch") -> dict[str, nn.Module]:
    """A discriminator and a generator; `norm` is the discriminator's."""
    backbone = _backbone(spec, image, GAN_STAGES)
    return {
        "discriminator": backbone.encoder("to_logit", 1, norm=norm),
        "generator": backbone.decoder("from_noise", spec.latent),
    }


def _backbone(spec: specs.Composed, image: Image, stages: int) -> Backbone:
    name = spec.backbone or "conv"
    if name not in backbones:
        raise ModelError(f"{spec.name}: unknown backbone {name!r}; known: {', '.join(sorted(backbones))}")
    return backbones[name](image, spec.width, stages)


builders: dict[str, Callable[[Any, Image, str], Family]] = {
    "linear_autoencoder": linear_autoencoder,
    "conv_autoencoder": conv_autoencoder,
    "autoencoder": autoencoder,
    "vae": vae,
    "dcgan": dcgan,
    "sngan": sngan,
    "wgan": wgan,
    "wgan_gp": wgan_gp,
}


def build(spec: specs.ModelSpec, image: Image, precision: str = "fp32") -> Family:
    """The model of `spec` for images (channels, height, width), on the meta device, without weights.

    Raises:
        TombolaError: if the model cannot be built for such images.
    """
    with torch.device("meta"):
        family = maker(builders, spec.name, "workers.models.builders")(spec, image, precision)
    spare_empty_kernels(family.networks)
    return family


def materialise(family: Family, device: torch.device) -> None:
    """Give a model from `build` uninitialised weights on `device`, laid out channels_last."""
    family.networks.to_empty(device=device)
    family.networks.to(memory_format=torch.channels_last)


def initialise(family: Family, seed: int, draw: str) -> None:
    """Draw first weights: kernels and biases uniform in ±1/sqrt(fan-in), PyTorch's own defaults; norms neutral.

    Each tensor has a generator of its own, seeded by its role, so a tensor's draw depends on nothing but its
    role and shape: models that share a role start it alike, and so does a network that follows another.
    """
    draw_weights(family.networks, lambda name: generator(seed, f"{draw}:{family.role(name)}"))


def draw_weights(network: nn.Module, noise: Callable[[str], torch.Generator]) -> None:
    """Draw the weights of every layer of a network, each tensor with the generator that `noise` gives for its name."""
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            tensors = dict(module.named_parameters())
            bound = max(tensors.values(), key=torch.Tensor.dim)[0].numel() ** -0.5
            for kind, tensor in tensors.items():
                values = torch.empty(tensor.shape).uniform_(-bound, bound, generator=noise(f"{name}.{kind}"))
                with torch.no_grad():
                    tensor.copy_(values)
            if is_parametrized(module, "weight"):
                _draw_vectors(module, lambda kind, name=name: noise(f"{name}.{kind}"))  # type: ignore[misc]


_POWER_ITERATIONS = 15
"""As many as torch itself begins a spectral norm with."""


def _draw_vectors(layer: nn.Module, noise: Callable[[str], torch.Generator]) -> None:
    """Draw the first singular vectors of a layer with spectral norm, and bring them near to those of its kernel."""
    with torch.no_grad():
        for kind, vector in layer.named_buffers():
            values = torch.empty(vector.shape).normal_(generator=noise(kind))
            vector.copy_(values / values.norm())
        layer.train()
        for _ in range(_POWER_ITERATIONS):
            _ = layer.weight  # computing it in training mode is an iteration


__all__ = [
    "NORMS",
    "Family",
    "ModelError",
    "backbones",
    "build",
    "builders",
    "draw_weights",
    "initialise",
    "materialise",
]
