from typing import Any

import pytest
import torch

from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from workers.models import Family, build, draw_weights, initialise, materialise
from workers.models.backbones import ConvBackbone


def parameters(family: Family, component: str) -> int:
    return sum(p.numel() for p in family.networks[component].parameters())


def made(spec: ModelSpec, channels: int = 1) -> Family:
    family = build(spec, (channels, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def test_sizes_are_the_papers() -> None:
    gan = build(DCGAN(width=128, latent=32), (3, 32, 32))
    assert parameters(gan, "discriminator") == 2_638_465
    assert parameters(gan, "generator") == 2_892_419
    vae = build(VAE(width=64, latent=32), (3, 32, 32))
    assert parameters(vae, "encoder") + parameters(vae, "decoder") == 5_713_731
    autoencoder = build(LinearAutoencoder(), (1, 28, 28))
    assert parameters(autoencoder, "encoder") + parameters(autoencoder, "decoder") == 209_968  # "about 200K"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", [LinearAutoencoder(width=8), VAE(width=4, latent=5), DCGAN(width=4, latent=5)])
def test_images_go_in_and_come_out(spec: ModelSpec, channels: int) -> None:
    family = made(spec, channels)
    images = torch.rand(6, channels, 32, 32) * 2 - 1
    noise = torch.Generator().manual_seed(0)
    phases = [loss.phase for loss in family.losses(images, noise)]
    assert phases == list(family.phases)
    decoder = next(name for name, body in family.bodies.items() if body == "decode")
    pictures = family.run(decoder, family.latents(6, noise))
    assert pictures.shape == images.shape
    assert pictures.abs().max() <= 1


def test_prunable_are_the_kernels_and_nothing_else() -> None:
    family = made(VAE(width=4, latent=5))
    prunable = family.prunable()
    assert len(prunable) == 10
    assert all(p.dim() >= 2 for p in prunable.values())
    names = [name for name, p in family.networks.named_parameters() if p.dim() >= 2]
    assert list(prunable) == names, "in parameter order"


def test_vae_decoder_and_gan_generator_share_all_roles_but_their_heads() -> None:
    def roles(family: Family, component: str) -> dict[str, Any]:
        named = {n: p for n, p in family.networks.state_dict().items() if n.startswith(component)}
        return {family.role(name): tuple(p.shape) for name, p in named.items()}

    vae, gan = build(VAE(width=16), (3, 32, 32)), build(DCGAN(width=16), (3, 32, 32))
    for ours, theirs, stages in (("decoder", "generator", "up"), ("encoder", "discriminator", "down")):
        left, right = roles(vae, ours), roles(gan, theirs)
        shared = {role for role in left if role in right}
        assert {role.split(".")[1] for role in shared} == {f"{stages}1", f"{stages}2", f"{stages}3"}
        assert all(left[role] == right[role] for role in shared)
        assert all(".from_" in role or ".to_" in role for role in right if role not in shared)


def test_initialisation_is_that_of_its_seed_and_draw() -> None:
    spec = DCGAN(width=4)

    def weights(seed: int, draw: str) -> torch.Tensor:
        family = build(spec, (1, 32, 32))
        materialise(family, torch.device("cpu"))
        initialise(family, seed, draw)
        return torch.cat([p.detach().flatten() for p in family.networks.parameters()])

    assert weights(0, "initial").equal(weights(0, "initial"))
    assert not weights(0, "initial").equal(weights(1, "initial"))
    assert not weights(0, "initial").equal(weights(0, "reinit"))


def test_initialisation_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    made(VAE(width=4))
    assert torch.get_rng_state().equal(state)


def test_first_weights_have_pytorchs_own_spread() -> None:
    torch.manual_seed(0)
    family = made(DCGAN(width=32))
    for name, module in family.networks.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            ours = module.weight.detach().clone()
            module.reset_parameters()
            assert ours.abs().max() <= module.weight[0].numel() ** -0.5
            assert ours.std().item() == pytest.approx(module.weight.std().item(), rel=0.1), name


def test_norms_start_neutral() -> None:
    state = made(VAE(width=4)).networks.state_dict()
    assert all((t == 1).all() for n, t in state.items() if n.endswith(("norm.weight", "running_var")))
    assert all((t == 0).all() for n, t in state.items() if n.endswith(("norm.bias", "running_mean")))


def test_weights_are_laid_out_channels_last() -> None:
    family = made(DCGAN(width=8))
    weight = family.networks["generator"].get_parameter("up2.conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("image", [(1, 28, 28), (1, 32, 48)])
def test_images_that_do_not_fit_the_stages_are_refused(image: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be halved"):
        ConvBackbone(image, 8, stages=4)


def test_models_that_share_a_role_start_it_alike() -> None:
    vae, gan = made(VAE(width=4)).networks, made(DCGAN(width=4)).networks
    for stage in ("up1", "up2", "up3"):
        name = f"{stage}.conv.weight"
        assert vae["decoder"].get_parameter(name).equal(gan["generator"].get_parameter(name))


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d])
def test_every_batch_norm_starts_neutral(norm: type[torch.nn.BatchNorm1d | torch.nn.BatchNorm2d]) -> None:
    network = torch.nn.Sequential(norm(3))
    for tensor in network.state_dict().values():
        tensor.fill_(7)
    draw_weights(network, lambda name: torch.Generator())
    assert {tuple(tensor.flatten().tolist()) for tensor in network.state_dict().values()} == {
        (1, 1, 1),
        (0, 0, 0),
        (0,),
    }
