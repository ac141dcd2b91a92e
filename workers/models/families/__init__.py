"""Families: the heads and losses that turn a backbone into a generative model."""

from workers.models.families.autoencoder import Autoencoder
from workers.models.families.family import Family, Loss
from workers.models.families.gan import GAN
from workers.models.families.hinge import HingeGAN
from workers.models.families.vae import VAE
from workers.models.families.wasserstein import ClippedWGAN, PenalisedWGAN

__all__ = ["GAN", "VAE", "Autoencoder", "ClippedWGAN", "Family", "HingeGAN", "Loss", "PenalisedWGAN"]
