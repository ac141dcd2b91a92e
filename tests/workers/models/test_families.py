"""Losses, against computations that share no code with them."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from search_spaces.models import DCGAN, SNGAN, VAE, WGAN, WGANGP, ModelSpec
from workers.evaluation.reconstruction import reconstruction_mse
from workers.models import ModelError, build, families, initialise, materialise

IMAGES = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def made(spec: ModelSpec) -> families.Family:
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


def test_the_hinge_losses_are_those_of_miyato_et_al() -> None:
    family = made(SNGAN(width=4, latent=3))
    assert isinstance(family, families.GAN)
    family.networks.eval()  # in which spectral norm does not move
    losses = {loss.phase: loss.value.item() for loss in family.losses(IMAGES, torch.Generator().manual_seed(2))}
    fakes = family.generate(torch.randn(5, 3, generator=torch.Generator().manual_seed(2)))
    real, fake = (family.discriminate(x).double() for x in (IMAGES, fakes))
    below = torch.minimum(real - 1, torch.zeros(5)).mean() + torch.minimum(-fake - 1, torch.zeros(5)).mean()
    assert losses["discriminator"] == pytest.approx(-below.item(), rel=1e-5)
    assert losses["generator"] == pytest.approx(-fake.mean().item(), rel=1e-5)


@pytest.mark.parametrize("spec", [WGAN(width=4, latent=3), WGANGP(width=4, latent=3)])
def test_a_critic_tells_means_apart(spec: WGAN | WGANGP) -> None:
    family = made(spec)
    assert isinstance(family, families.GAN)
    family.networks.eval()
    losses = list(family.losses(IMAGES, torch.Generator().manual_seed(2)))
    fakes = family.generate(torch.randn(5, 3, generator=torch.Generator().manual_seed(2)))
    apart = family.discriminate(fakes).mean() - family.discriminate(IMAGES).mean()
    assert losses[0].parts["discriminator_loss"].item() == pytest.approx(apart.item(), rel=1e-4)
    assert losses[1].value.item() == pytest.approx(-family.discriminate(fakes).mean().item(), rel=1e-4)


def test_the_gradient_penalty_is_that_of_finite_differences() -> None:
    family = made(WGANGP(width=2, latent=3, penalty=7.0))
    assert isinstance(family, families.PenalisedWGAN)
    fakes = torch.zeros_like(IMAGES)
    (penalty,) = family.penalties(IMAGES, fakes, torch.Generator().manual_seed(3)).values()
    share = torch.rand(5, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    critic = copy.deepcopy(family.networks["discriminator"]).double()
    points, h = (share * IMAGES).double(), 1e-6
    squares = torch.zeros(5, dtype=torch.float64)
    with torch.no_grad():
        for pixel in range(points[0].numel()):
            step = torch.zeros(points[0].numel(), dtype=torch.float64).index_fill(0, torch.tensor(pixel), h)
            slope = critic(points + step.view_as(points[0])) - critic(points - step.view_as(points[0]))
            squares += (slope.flatten() / (2 * h)).square()
    assert penalty.item() == pytest.approx(7 * (squares.sqrt() - 1).square().mean().item(), rel=1e-4)


def test_the_gradient_penalty_is_in_fp32_whatever_the_precision() -> None:
    exact, low = (build(WGANGP(width=4, latent=3), (1, 32, 32), precision) for precision in ("fp32", "bf16"))
    penalties = []
    for family in (exact, low):
        materialise(family, torch.device("cpu"))
        initialise(family, 0, "initial")
        assert isinstance(family, families.PenalisedWGAN)
        noise = torch.Generator().manual_seed(3)
        penalties += family.penalties(IMAGES, torch.zeros_like(IMAGES), noise).values()
    assert penalties[0].equal(penalties[1])


def test_the_penalty_reaches_every_weight_of_the_critic_and_none_of_the_generator() -> None:
    family = made(WGANGP(width=4, latent=3))
    assert isinstance(family, families.PenalisedWGAN)
    fakes = family.generate(torch.zeros(5, 3)).detach()
    (penalty,) = family.penalties(IMAGES, fakes, torch.Generator().manual_seed(3)).values()
    penalty.backward()
    assert all(p.grad is not None for n, p in family.networks["discriminator"].named_parameters() if "weight" in n)
    assert all(p.grad is None for p in family.networks["generator"].parameters())


def test_the_generator_is_due_after_so_many_steps_of_the_critic() -> None:
    family = made(WGAN(width=4, latent=3, critic_steps=3))
    assert [family.due(step) for step in range(7)] == [1, 1, 2, 1, 1, 2, 1]
    assert [made(SNGAN(width=4)).due(step) for step in range(3)] == [2, 2, 2]


def test_an_average_starts_as_its_generator_and_follows_it_with_its_buffers() -> None:
    family = made(DCGAN(width=4, latent=3, ema=0.75))
    average, generator = family.networks["average"], family.networks["generator"]
    assert all(a.equal(g) for a, g in zip(average.state_dict().values(), generator.state_dict().values(), strict=True))
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    with torch.no_grad():
        for tensor in generator.state_dict().values():
            tensor.add_(4)
    family.updated("discriminator")
    assert all(tensor.equal(before[name]) for name, tensor in average.state_dict().items())
    family.updated("generator")
    for name, tensor in average.state_dict().items():
        assert torch.allclose(tensor, before[name] + (1 if tensor.is_floating_point() else 4)), name


def test_a_kernel_that_stands_twice_is_averaged_once() -> None:
    layers = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
    layers[1].weight = layers[0].weight
    networks = {"generator": nn.Sequential(*layers, layers[2]), "discriminator": nn.Linear(3, 1)}
    family = families.GAN(networks, 3, "fp32", ema=0.75)
    average = family.networks["average"]
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    with torch.no_grad():
        for tensor in dict.fromkeys(networks["generator"].state_dict(keep_vars=True).values()):
            tensor.add_(4)
    family.updated("generator")
    for name, tensor in average.state_dict().items():
        assert torch.allclose(tensor, before[name] + (1 if tensor.is_floating_point() else 4)), name
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_an_average_is_no_part_of_what_is_trained_or_pruned() -> None:
    plain, averaged = made(DCGAN(width=4, latent=3)), made(DCGAN(width=4, latent=3, ema=0.9))
    assert list(averaged.prunable()) == list(plain.prunable())
    assert len(averaged.parameters()) == len(plain.parameters())
    assert not any(p.requires_grad for p in averaged.networks["average"].parameters())


def test_clipping_holds_every_parameter_of_the_critic() -> None:
    family = made(WGAN(width=4, latent=3, clip=0.02))
    family.updated("discriminator")
    largest = {
        name: max(float(p.detach().abs().max()) for p in net.parameters()) for name, net in family.networks.items()
    }
    assert largest["discriminator"] == pytest.approx(0.02)
    assert largest["generator"] > 0.02


def test_first_singular_vectors_are_drawn_by_role_and_near_those_of_the_kernel() -> None:
    first, second = (made(SNGAN(width=4, latent=3)).networks["discriminator"] for _ in range(2))
    states = first.state_dict(), second.state_dict()
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    layer = first.get_submodule("down2.conv").eval()
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.05)


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


class Rivals(families.Autoencoder):
    bodies: ClassVar = {"encoder": "encode", "decoder": "encode"}


def test_two_tensors_of_one_role_are_refused() -> None:
    family = Rivals({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)}, 4, "fp32")
    with pytest.raises(ModelError, match=r"decoder\.weight and encoder\.weight have one role, encode\.weight"):
        family.check()


class Short(families.Autoencoder):
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :1]


def test_reconstructions_of_another_shape_are_no_reconstructions() -> None:
    family = Short({"encoder": nn.Identity(), "decoder": nn.Identity()}, 4, "fp32")
    with pytest.raises(ValueError, match=r"its reconstructions are of shape \(2, 1, 1, 4\)"):
        reconstruction_mse(family, torch.zeros(2, 1, 4, 4))
