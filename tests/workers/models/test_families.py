"""Losses, against computations that share no code with them."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from search_spaces.models import DCGAN, VAE, LinearAutoencoder
from workers.models import build, families, initialise, materialise

IMAGES = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def made(spec: LinearAutoencoder | VAE | DCGAN) -> torch.nn.Module:
    family = build(spec, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def test_the_vae_loss_is_squared_error_plus_beta_kl() -> None:
    family = made(VAE(width=4, latent=3, beta=4.0))
    assert isinstance(family, families.VAE)
    (loss,) = family.losses(IMAGES, torch.Generator().manual_seed(2))
    mean, log_variance = family.posterior(IMAGES)
    posterior = Independent(Normal(mean, log_variance.exp().sqrt()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    kl = kl_divergence(posterior, prior).mean()
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    restored = family.networks["decoder"](mean + log_variance.exp().sqrt() * noise)
    squared = sum(((r - i) ** 2).sum() for r, i in zip(restored, IMAGES, strict=True)) / 5
    assert loss.parts["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert loss.parts["reconstruction"].item() == pytest.approx(squared.item(), rel=1e-5)
    assert loss.value.item() == pytest.approx((squared + 4 * kl).item(), rel=1e-5)


def test_the_gan_losses_are_the_papers_logarithms() -> None:
    family = made(DCGAN(width=4, latent=3))
    assert isinstance(family, families.GAN)
    losses = {loss.phase: loss.value.item() for loss in family.losses(IMAGES, torch.Generator().manual_seed(2))}
    fakes = family.generate(torch.randn(5, 3, generator=torch.Generator().manual_seed(2)))
    real, fake = (torch.sigmoid(family.discriminate(x)).double() for x in (IMAGES, fakes))
    assert losses["discriminator"] == pytest.approx(-(real.log().mean() + (1 - fake).log().mean()).item(), rel=1e-4)
    assert losses["generator"] == pytest.approx(-fake.log().mean().item(), rel=1e-4)


def test_the_discriminators_loss_does_not_reach_the_generator() -> None:
    family = made(DCGAN(width=4, latent=3))
    loss = next(family.losses(IMAGES, torch.Generator().manual_seed(2)))
    loss.value.backward()
    assert all(p.grad is None for p in family.networks["generator"].parameters())


def test_bf16_runs_the_networks_low_and_the_losses_high() -> None:
    exact, low = (build(VAE(width=4, latent=3), (1, 32, 32), precision) for precision in ("fp32", "bf16"))
    for family in (exact, low):
        materialise(family, torch.device("cpu"))
        initialise(family, 0, "initial")
    values = [next(f.losses(IMAGES, torch.Generator().manual_seed(2))).value for f in (exact, low)]
    assert values[1].dtype == torch.float32
    assert values[0].item() != values[1].item()
    assert values[0].item() == pytest.approx(values[1].item(), rel=0.05)
    assert all(p.dtype == torch.float32 for p in low.networks.parameters())
