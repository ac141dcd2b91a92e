"""FLOPs, against counts made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from search_spaces.models import DCGAN, SNGAN, VAE, WGAN, WGANGP, ConvAutoencoder, LinearAutoencoder, ModelSpec
from workers.costs.flops import FlopCounter, sparse_flops, step_flops
from workers.models import build, initialise, materialise
from workers.models.families import Autoencoder, Loss

IMAGE, BATCH = (1, 32, 32), 5
TOYS: dict[str, ModelSpec] = {
    "linear_autoencoder": LinearAutoencoder(width=8, latent=4),
    "vae": VAE(width=2, latent=3),
    "dcgan": DCGAN(width=2, latent=3),
    "conv_autoencoder": ConvAutoencoder(width=2),
    "resnet_vae": VAE(width=2, latent=3, backbone="resnet"),
    "resnet_dcgan": DCGAN(width=2, latent=3, backbone="resnet", ema=0.9),
    "sngan": SNGAN(width=2, latent=3),
    "wgan_gp": WGANGP(width=2, latent=3, critic_steps=1),
}

# A layer, the shape of its inputs, and the FLOPs of one pass by hand: 2 x (images x positions at which the kernel is
# laid down) x (weights of the kernel). A convolution lays it down at each output, a transposed one at each input.
Case = tuple[nn.Module, tuple[int, ...], int]
CASES: dict[str, Case] = {
    "linear": (nn.Linear(6, 4), (7, 6), 2 * 7 * (6 * 4)),
    "convolution": (nn.Conv2d(3, 5, 4, stride=2, padding=1), (7, 3, 8, 8), 2 * (7 * 4 * 4) * (3 * 5 * 4 * 4)),
    "transposed": (nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (7, 3, 8, 8), 2 * (7 * 8 * 8) * (3 * 5 * 4 * 4)),
}


@pytest.fixture(params=["cpu", "meta"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, device: str) -> Case:
    layer, shape, forward = CASES[request.param]
    return layer.to_empty(device=device), shape, forward


def test_a_forward_pass_of_the_papers_gan() -> None:
    gan = build(DCGAN(width=128, latent=32), (3, 32, 32)).networks.to("meta")
    with FlopCounter() as generator:
        images = gan["generator"](torch.empty(1, 32, device="meta"))
    with FlopCounter() as discriminator:
        gan["discriminator"](images)
    assert generator.total == 2 * 68_943_872
    assert discriminator.total == 2 * 68_689_920


@pytest.mark.parametrize("of_inputs", [False, True])
def test_each_gradient_costs_as_much_as_the_forward_pass(case: Case, device: str, of_inputs: bool) -> None:
    layer, shape, forward = case
    inputs = torch.ones(shape, device=device, requires_grad=of_inputs)
    with FlopCounter() as counter:
        outputs = layer(inputs)
        assert counter.total == forward
        torch.autograd.grad(outputs.sum(), [*layer.parameters(), *([inputs] if of_inputs else [])])
    assert counter.total == (3 if of_inputs else 2) * forward


@pytest.mark.parametrize("of_inputs", [False, True])
def test_a_gradient_of_a_gradient_is_counted(case: Case, device: str, of_inputs: bool) -> None:
    layer, shape, forward = case
    inputs = torch.ones(shape, device=device, requires_grad=of_inputs)
    # With y = x W' and the loss |y|^2, the gradient of W is 2 y' x. Its product with a direction v is 2 sum(y * x v').
    # The gradient of that is x v' for y (a pass) and from there on that for W (another); that for x has a part through
    # y (a third), and y v directly (a fourth). Of convolutions torch computes the fourth even if nobody asks for it.
    passes = 4 if of_inputs else 2 if isinstance(layer, nn.Linear) else 3
    with FlopCounter() as counter:
        (gradient,) = torch.autograd.grad(layer(inputs).square().sum(), [layer.weight], create_graph=True)
        assert counter.total == 2 * forward
        asked = [layer.weight, *([inputs] if of_inputs else [])]
        torch.autograd.grad((gradient * torch.ones_like(gradient)).sum(), asked)
    assert counter.total == (2 + passes) * forward


def test_nothing_is_missed_where_layers_come_whole(case: Case, device: str) -> None:
    layer, shape, forward = case
    with torch.inference_mode(), FlopCounter() as counter:
        layer(torch.ones(shape, device=device))
    assert counter.total == forward


def test_autocast_changes_no_count() -> None:
    layer, shape, forward = CASES["convolution"]
    layer.to_empty(device="cpu")
    with torch.autocast("cpu", torch.bfloat16), FlopCounter() as counter:
        layer(torch.ones(shape)).sum().backward(inputs=[layer.get_parameter("weight")])
    assert counter.total == 2 * forward


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", TOYS)
def test_a_step_without_weights_counts_as_one_with_them(name: str, precision: str) -> None:
    family = build(TOYS[name], IMAGE, precision)
    flops = step_flops(family, IMAGE, BATCH)
    assert list(flops) == list(family.prunable()), "each kernel, and nothing that is of none"
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    with FlopCounter() as counter:
        for loss in family.losses(torch.zeros(BATCH, *IMAGE), torch.Generator().manual_seed(0)):
            loss.value.backward(inputs=family.parameters_of(loss.phase))
    assert sum(flops.values()) == counter.total


def test_a_step_leaves_the_family_as_it_was() -> None:
    family = build(TOYS["dcgan"], IMAGE)
    flops = step_flops(family, IMAGE, BATCH)
    assert all(parameter.is_meta for parameter in family.networks.parameters())
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    family.networks.eval()
    before = {name: tensor.clone() for name, tensor in family.networks.state_dict().items()}
    assert step_flops(family, IMAGE, BATCH) == flops
    assert all(tensor.equal(before[name]) for name, tensor in family.networks.state_dict().items())
    assert all(parameter.grad is None for parameter in family.networks.parameters())
    assert not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in family.networks.modules())


def test_an_autoencoder_computes_all_gradients_but_that_of_its_images() -> None:
    pixels = 32 * 32
    assert step_flops(build(TOYS["linear_autoencoder"], IMAGE), IMAGE, BATCH) == {
        "encoder.down1.linear.weight": 2 * 2 * BATCH * pixels * 8,
        "encoder.to_code.linear.weight": 3 * 2 * BATCH * 8 * 4,
        "decoder.from_code.linear.weight": 3 * 2 * BATCH * 4 * 8,
        "decoder.up1.linear.weight": 3 * 2 * BATCH * 8 * pixels,
    }


def test_a_gan_step_by_hand() -> None:
    # Passes of a discriminator's layer in its own update: real images and fakes, each forward, to the weights and,
    # but for the first layer, to its inputs. In the generator's: forward and to its inputs. The generator runs once,
    # then its gradients go to the weights and, but for the first layer, to its inputs.
    first_of_two, other_of_two = 2 * 2 + 2, 2 * 3 + 2
    first_of_one, other_of_one = 2, 3
    assert step_flops(build(TOYS["dcgan"], IMAGE), IMAGE, BATCH) == {
        "discriminator.down1.conv.weight": first_of_two * 2 * BATCH * 16**2 * (1 * 2 * 16),
        "discriminator.down2.conv.weight": other_of_two * 2 * BATCH * 8**2 * (2 * 4 * 16),
        "discriminator.down3.conv.weight": other_of_two * 2 * BATCH * 4**2 * (4 * 8 * 16),
        "discriminator.to_logit.conv.weight": other_of_two * 2 * BATCH * (8 * 1 * 16),
        "generator.from_noise.conv.weight": first_of_one * 2 * BATCH * (3 * 8 * 16),
        "generator.up3.conv.weight": other_of_one * 2 * BATCH * 4**2 * (8 * 4 * 16),
        "generator.up2.conv.weight": other_of_one * 2 * BATCH * 8**2 * (4 * 2 * 16),
        "generator.up1.conv.weight": other_of_one * 2 * BATCH * 16**2 * (2 * 1 * 16),
    }


def test_a_step_of_a_critic_with_gradient_penalty_by_hand() -> None:
    # In a step of the critic, beside the six passes of a discriminator's update (four at the image): the penalty runs
    # forward, back to the images, and through that again: to what each layer gave back, and to its weights. The
    # derivative of a ReLU's slope is zero, but torch carries these zeros back through all layers below the last ReLU.
    # Every second step the generator has its update, for which the critic runs forward and back once; but the
    # generator runs forward in both.
    penalty, zeros, half = 2 + 2, 2, 2 / 2
    assert step_flops(build(WGANGP(width=2, latent=3, critic_steps=2), IMAGE), IMAGE, BATCH) == {
        "discriminator.down1.conv.weight": (4 + penalty + zeros - 1 + half) * 2 * BATCH * 16**2 * (1 * 2 * 16),
        "discriminator.down2.conv.weight": (6 + penalty + zeros + half) * 2 * BATCH * 8**2 * (2 * 4 * 16),
        "discriminator.down3.conv.weight": (6 + penalty + zeros + half) * 2 * BATCH * 4**2 * (4 * 8 * 16),
        "discriminator.to_logit.conv.weight": (6 + penalty + half) * 2 * BATCH * (8 * 1 * 16),
        "generator.from_noise.conv.weight": (1 + 1 / 2) * 2 * BATCH * (3 * 8 * 16),
        "generator.up3.conv.weight": (1 + 2 / 2) * 2 * BATCH * 4**2 * (8 * 4 * 16),
        "generator.up2.conv.weight": (1 + 2 / 2) * 2 * BATCH * 8**2 * (4 * 2 * 16),
        "generator.up1.conv.weight": (1 + 2 / 2) * 2 * BATCH * 16**2 * (2 * 1 * 16),
    }


def test_a_critic_alone_is_updated_in_all_steps_of_a_period_but_one() -> None:
    flops = {n: step_flops(build(WGAN(width=2, latent=3, critic_steps=n), IMAGE), IMAGE, BATCH) for n in (1, 3)}
    forward = 2 * BATCH * 8**2 * (2 * 4 * 16)  # of the second layer on either side
    for name, critic, both in (("discriminator.down2", 6, 8), ("generator.up2", 1, 3)):
        assert flops[1][f"{name}.conv.weight"] == both * forward
        assert flops[3][f"{name}.conv.weight"] == pytest.approx((2 * critic + both) / 3 * forward)


def test_flops_of_one_step_are_whole_numbers() -> None:
    assert {type(count) for count in step_flops(build(TOYS["sngan"], IMAGE), IMAGE, BATCH).values()} == {int}


class _TwoHeads(Autoencoder):
    """Two layers that see the same inputs (N, 3, 4), and a product of what they make of them."""

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        rows = images.flatten(1, 2)
        left, right = self.run("encoder", rows), self.run("decoder", rows)
        yield Loss("autoencoder", (left @ right.transpose(1, 2)).sum(), {})


def test_layers_that_share_an_input_are_told_apart_and_other_products_are_nobodys() -> None:
    with torch.device("meta"):
        heads = {name: nn.Sequential(nn.Linear(4, 6)) for name in ("encoder", "decoder")}
        heads["decoder"].requires_grad_(False)[0].weight.requires_grad_()
    assert step_flops(_TwoHeads(heads, 1, "bf16"), (1, 3, 4), BATCH) == {
        "encoder.0.weight": 2 * 2 * (BATCH * 3) * (4 * 6),
        "decoder.0.weight": 2 * 2 * (BATCH * 3) * (4 * 6),
        "": 3 * 2 * BATCH * (3 * 6 * 3),
    }


def test_sparse_flops_weigh_every_kernel_by_its_density() -> None:
    flops = {"a": 100, "b": 10, "": 1}
    assert sparse_flops(flops, {"a": 1.0, "b": 1.0}) == 111
    assert sparse_flops(flops, {"a": 0.5, "b": 0.1}) == pytest.approx(52)


@pytest.mark.parametrize("name", TOYS)
def test_half_the_weights_of_each_kernel_are_half_the_flops(name: str) -> None:
    flops = step_flops(build(TOYS[name], IMAGE), IMAGE, BATCH)
    assert sparse_flops(flops, dict.fromkeys(flops, 1.0)) == sum(flops.values())
    assert sparse_flops(flops, dict.fromkeys(flops, 0.5)) == sum(flops.values()) / 2
