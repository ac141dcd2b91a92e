"""Generative models: each one joins a backbone and a family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from search_spaces import models as specs
from search_spaces.base.registry import maker
from workers.models.backbones import Backbone, ConvBackbone, MLPBackbone, Norm, PooledBackbone, ResNetBackbone
from workers.models.drawing import draw_weights, initialise
from workers.models.families import GAN, VAE, Autoencoder, ClippedWGAN, Family, HingeGAN, PenalisedWGAN
from workers.models.layers.constructing import constructing
from workers.models.layers.spectral import spare_empty_kernels
from workers.models.layers.tensors import ModelError, check_tensors
from workers.models.placing import materialise, without_weights

Image = tuple[int, int, int]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


backbones: dict[str, Callable[[Image, int, int], Backbone]] = {
    "conv": ConvBackbone,
    "mlp": lambda image, width, stages: MLPBackbone(image, width),
    "resnet": ResNetBackbone,
}
"""By name, the functions that build a backbone. Arguments: the image size (channels, height, width), the width, and the
number of times that the backbone halves the image."""

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
    """A discriminator and a generator. `norm` applies to the discriminator only."""
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


BUILT_IN: dict[str, dict[str, Any]] = {"builders": dict(builders), "backbones": dict(backbones)}
"""The built-in entries of the tables that plugins extend."""


def build(spec: specs.ModelSpec, image: Image, precision: str = "fp32") -> Family:
    """Build the model of `spec` for images (channels, height, width), with its parameters on the meta device.

    The parameters have no values yet. Buffers have the values that the constructor gives them, the same in every build.

    Raises:
        TombolaError: if the model does not support this image size, or has tensors that cannot be trained or stored.
    """
    construct = partial(maker(builders, spec.name, "workers.models.builders"), spec, image, precision)
    with constructing(0):
        family = construct()
    try:
        check_tensors(family.networks)
        family.check()
    except ModelError as error:
        raise ModelError(f"{spec.name}: {error}") from error
    spare_empty_kernels(family.networks)
    family.construct = construct
    without_weights(family.networks)
    return family


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
    "without_weights",
]
