"""Bodies: their sizes, what they make of images, and what they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from search_spaces.models import DCGAN, SNGAN, VAE, WGANGP, Autoencoder, ConvAutoencoder, ModelSpec
from workers.models import Family, build, initialise, materialise
from workers.models.backbones import ConvBackbone, MLPBackbone, PooledBackbone, ResNetBackbone
from workers.models.backbones.residual import Residual
from workers.models.backbones.sizes import ImageSizeError

SPECS: list[ModelSpec] = [
    ConvAutoencoder(width=2),
    Autoencoder(width=2, latent=3, backbone="resnet"),
    VAE(width=2, latent=3, backbone="resnet"),
    VAE(width=2, latent=3, backbone="mlp"),
    DCGAN(width=2, latent=3, backbone="resnet"),
    SNGAN(width=2, latent=3),
    SNGAN(width=2, latent=3, backbone="resnet"),
    WGANGP(width=2, latent=3, backbone="mlp"),
]


def sizes(family: Family) -> dict[str, int]:
    return {name: sum(p.numel() for p in network.parameters()) for name, network in family.networks.items()}


def made(spec: ModelSpec, image: tuple[int, int, int] = (1, 32, 32)) -> Family:
    family = build(spec, image)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def test_the_pooled_autoencoder_has_the_papers_size() -> None:
    assert sum(sizes(build(ConvAutoencoder(), (1, 32, 32))).values()) == 2_936_673
    assert sum(sizes(build(ConvAutoencoder(), (3, 32, 32))).values()) == 2_937_507


def test_residual_models_have_nearly_the_papers_sizes() -> None:
    vae = sizes(build(VAE(width=32, backbone="resnet"), (3, 32, 32)))
    assert vae == {"encoder": 1_242_848, "decoder": 1_578_467}  # "2.8M"
    gan = sizes(build(DCGAN(width=56, backbone="resnet"), (3, 32, 32)))
    assert gan == {"discriminator": 938_617, "generator": 1_196_331}  # "2.2M"


@pytest.mark.parametrize("image", [(1, 32, 32), (3, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_images_of_any_size_come_back(spec: ModelSpec, image: tuple[int, int, int]) -> None:
    family = made(spec, image)
    networks = {family.bodies[name]: network for name, network in family.networks.items()}
    codes = networks["encode"](torch.rand(2, *image) * 2 - 1)
    assert codes.shape[0] == 2
    assert codes.dim() == 2
    images = networks["decode"](torch.randn(2, family.latent))
    assert images.shape == (2, *image)
    assert images.abs().max() <= 1


def test_the_code_of_the_pooled_autoencoder_is_its_innermost_map() -> None:
    backbone = PooledBackbone((1, 64, 64), 2)
    assert backbone.encoder()(torch.zeros(1, 1, 64, 64)).shape == (1, backbone.code)
    assert backbone.code == 16 * 2 * 4 * 4


@pytest.mark.parametrize("make", [lambda i: ConvBackbone(i, 8, 4), lambda i: ResNetBackbone(i, 8, 4)])
@pytest.mark.parametrize("image", [(1, 28, 28), (1, 32, 48), (1, 40, 40)])
def test_images_that_cannot_be_halved_so_often_are_refused(make: type, image: tuple[int, int, int]) -> None:
    with pytest.raises(ImageSizeError, match="cannot be halved 4 times"):
        make(image)


@pytest.mark.parametrize("image", [(1, 28, 28), (1, 32, 48)])
def test_images_that_the_pooled_decoder_would_not_give_back_are_refused(image: tuple[int, int, int]) -> None:
    with pytest.raises(ImageSizeError, match="multiple of 16"):
        PooledBackbone(image, 2)


def test_every_stage_halves_the_image() -> None:
    encoder = ResNetBackbone((3, 32, 32), 2, 3).encoder("to_code", 4)
    images, sides = torch.zeros(2, 3, 32, 32), []
    for name, stage in encoder.named_children():
        images = stage(images)
        if name.startswith("down"):
            sides.append((images.shape[1], images.shape[2]))
    assert sides == [(2, 16), (4, 8), (8, 4)]


def test_residual_bodies_share_all_roles_but_their_heads_and_innermost_stages() -> None:
    def roles(family: Family) -> dict[str, tuple[int, ...]]:
        return {family.role(name): tuple(t.shape) for name, t in family.networks.state_dict().items()}

    def stages(family: Family) -> set[str]:
        return {role.split(".")[1] for role in roles(family)}

    vae = build(VAE(width=4, backbone="resnet"), (3, 32, 32))
    gan = build(DCGAN(width=4, backbone="resnet"), (3, 32, 32))
    shared = roles(vae).keys() & roles(gan).keys()
    assert {role.split(".")[1] for role in shared} == {f"{way}{k}" for way in ("down", "up") for k in (1, 2, 3)}
    assert all(roles(vae)[role] == roles(gan)[role] for role in shared)
    assert stages(vae) - stages(gan) == {"down4", "up4", "to_posterior", "from_posterior"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_no_convolution_of_single_places_has_strides(spec: ModelSpec) -> None:
    """On CPUs the backward pass of those with 2 to 7 input channels corrupts memory, and compaction makes such."""
    layers = [m for m in build(spec, (3, 32, 32)).networks.modules() if isinstance(m, nn.Conv2d)]
    assert not [layer for layer in layers if layer.kernel_size == (1, 1) and layer.stride != (1, 1)]


def test_a_shortcut_that_halves_is_a_strided_convolution_of_single_places() -> None:
    shortcut = made(VAE(width=4, latent=3, backbone="resnet")).networks["encoder"].get_submodule("down2.sum.shortcut")
    inputs, kernel = torch.randn(2, 4, 8, 8), shortcut.get_parameter("conv.weight")
    strided = nn.functional.batch_norm(nn.functional.conv2d(inputs, kernel, stride=2), None, None, training=True)
    torch.testing.assert_close(shortcut.train()(inputs), strided)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7])
def test_narrow_residual_models_train(width: int) -> None:
    family = made(VAE(width=width, latent=3, backbone="resnet"))
    images = (torch.rand(20, 1, 32, 32) * 2 - 1).to(memory_format=torch.channels_last)
    for _ in range(5):  # so many times a corrupted heap is found out
        for loss in family.losses(images, torch.Generator()):
            loss.value.backward()
    assert all(parameter.grad is not None for parameter in family.parameters())


@pytest.mark.parametrize("backbone", ["conv", "mlp", "resnet"])
def test_a_discriminator_has_either_batch_norms_or_spectral_norms_or_none(backbone: str) -> None:
    def norms(spec: ModelSpec) -> set[str]:
        modules = build(spec, (1, 32, 32)).networks["discriminator"].modules()
        return {type(m).__name__ for m in modules if "Norm" in type(m).__name__}

    assert norms(SNGAN(width=4, backbone=backbone)) == {"SpectralNorm"}
    assert norms(WGANGP(width=4, backbone=backbone)) == set()
    assert norms(DCGAN(width=4, backbone=backbone)) == (set() if backbone == "mlp" else {"BatchNorm2d"})


@pytest.mark.parametrize("backbone", ["conv", "mlp", "resnet"])
def test_every_kernel_of_a_spectral_discriminator_is_normalised(backbone: str) -> None:
    family = made(SNGAN(width=4, latent=3, backbone=backbone))
    names = [name for name in family.kernels() if name.startswith("discriminator")]
    assert all(name.endswith("parametrizations.weight.original") for name in names)
    layers = [layer for name, layer in family.kernels().items() if name in names]
    assert len(layers) == {"conv": 4, "mlp": 2, "resnet": 10}[backbone]
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.1)


def test_a_layer_has_a_bias_where_no_batch_norm_shifts_its_outputs() -> None:
    def biased(spec: ModelSpec) -> set[bool]:
        layers = build(spec, (1, 32, 32)).networks["discriminator"].get_submodule("down2").modules()
        return {layer.bias is not None for layer in layers if isinstance(layer, nn.Conv2d)}

    assert biased(DCGAN(width=4, backbone="resnet")) == {False}
    assert biased(SNGAN(width=4, backbone="resnet")) == {True}
    assert biased(WGANGP(width=4, backbone="resnet")) == {True}


def test_a_head_is_normalised_where_that_is_asked_for() -> None:
    encoders = [
        b.encoder("head", 3, norm_head=True) for b in (MLPBackbone((1, 8, 8), 2), ResNetBackbone((1, 8, 8), 2, 2))
    ]
    assert [type(e.get_submodule("head.norm")) for e in encoders] == [nn.BatchNorm1d, nn.BatchNorm2d]


def test_a_shortcut_sees_what_its_body_sees() -> None:
    class Recorder(nn.Identity):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs.clone())
            return inputs

    seen: list[Tensor] = []
    encoder = ResNetBackbone((1, 16, 16), 2, 2).encoder("head", 3)
    for block in [module for module in encoder.modules() if isinstance(module, Residual)]:
        block.body = nn.Sequential(Recorder(), block.body)
        block.shortcut = nn.Sequential(Recorder(), block.shortcut)
    encoder(torch.randn(2, 1, 16, 16))
    assert len(seen) == 4
    assert all(body.equal(shortcut) for body, shortcut in zip(seen[::2], seen[1::2], strict=True))


def test_building_a_model_with_spectral_norm_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    made(SNGAN(width=4, latent=3))
    assert torch.get_rng_state().equal(state)
