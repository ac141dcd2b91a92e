"""The compact network against the masked one: the same outputs, and the same training."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.models import DCGAN, SNGAN, VAE, WGANGP, ConvAutoencoder, LinearAutoencoder
from search_spaces.trial import Recipe
from workers.channels.compaction import Compaction
from workers.channels.kept import channel_groups, expand, groups_within, kept_channels
from workers.masks import Mask, keep_top
from workers.models import Family, build, initialise, materialise
from workers.models.families import Autoencoder
from workers.models.state import MOMENTS, capture, restore, weights_only
from workers.pruning import random
from workers.training.loop import Epoch, optimizers_of, train

Tensors = dict[str, Tensor]

# Weight decay gives the biases before norms, whose gradients are nothing but rounding errors, something to follow.
RECIPE = Recipe(batch=10, weight_decay=0.1, lr_discriminator=5e-4)


class Folded(Autoencoder):
    """An autoencoder whose feature maps are flattened for linear layers, and made of their features again."""


def folded() -> Family:
    with torch.device("meta"):
        encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 5, 4, 4), nn.BatchNorm2d(5), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(5, 6, 2, 2, bias=False), nn.LeakyReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
            nn.Sequential(nn.Linear(6 * 2 * 2, 7), nn.Sigmoid()),
            nn.Linear(7, 3),
        )
        decoder = nn.Sequential(
            nn.Sequential(nn.Linear(3, 6 * 4 * 4), nn.Tanh(), nn.Unflatten(1, (6, 4, 4)), nn.BatchNorm2d(6)),
            nn.Sequential(
                nn.ConvTranspose2d(6, 5, 4, 4), nn.BatchNorm2d(5), nn.Softplus(), nn.Upsample(scale_factor=2)
            ),
            nn.Conv2d(5, 1, 3, padding=1),
        )
    return Folded({"encoder": encoder, "decoder": decoder}, 3, "fp32")


MODELS: dict[str, Callable[[], Family]] = {
    # In the first and third, a code is as wide as a hidden layer.
    "linear_autoencoder": lambda: build(LinearAutoencoder(width=8, latent=8), (1, 32, 32)),
    "vae": lambda: build(VAE(width=3, latent=3), (1, 32, 32)),
    "dcgan": lambda: build(DCGAN(width=4, latent=16), (1, 32, 32)),
    "dcgan_rgb": lambda: build(DCGAN(width=3, latent=5), (3, 32, 32)),
    "folded": folded,
    "conv_autoencoder": lambda: build(ConvAutoencoder(width=3), (1, 32, 32)),
    "resnet_vae": lambda: build(VAE(width=3, latent=3, backbone="resnet"), (1, 32, 32)),
    "resnet_dcgan": lambda: build(DCGAN(width=3, latent=3, backbone="resnet", ema=0.5), (1, 32, 32)),
    "sngan": lambda: build(SNGAN(width=3, latent=4, ema=0.5), (1, 32, 32)),
    "resnet_sngan": lambda: build(SNGAN(width=3, latent=4, backbone="resnet"), (1, 32, 32)),
    "wgan_gp": lambda: build(WGANGP(width=3, latent=4, critic_steps=2), (1, 32, 32)),
}
RESIDUAL = [model for model in MODELS if model.startswith("resnet")]
every_model = pytest.mark.parametrize("model", list(MODELS))


pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def start(model: str) -> Tensors:
    """A state with moments and running statistics that are not those of the initialisation."""
    return trained(model, MODELS[model](), None, None, 0, 1)[0]


def trained(
    model: str, family: Family, state: Tensors | None, mask: Mask | None, begin: int, end: int
) -> tuple[Tensors, list[Epoch]]:
    """A state of a family on the meta device trained on from `state`, or from the initialisation; what was logged."""
    materialise(family, torch.device("cpu"))
    optimizers = optimizers_of(family, RECIPE)
    if state is None:
        initialise(family, 0, "initial")
    else:
        restore(state, family, optimizers)
    noise = torch.Generator().manual_seed(5)
    images = torch.randint(256, (20, 3 if model == "dcgan_rgb" else 1, 32, 32), dtype=torch.uint8, generator=noise)
    epochs = list(train(family, optimizers, mask, images, RECIPE, 0, begin, end))
    return capture(family, optimizers), epochs


def compactly(model: str, mask: Mask, state: Tensors, begin: int, end: int) -> tuple[Tensors, list[Epoch]]:
    """As `trained`, in the compact network."""
    compaction = Compaction(MODELS[model](), mask)
    small, epochs = trained(model, compaction.family(), compaction.compact(state), compaction.mask, begin, end)
    return compaction.scatter(small, state), epochs


def half(model: str) -> dict[str, Tensor]:
    """Half of the channels of every group, drawn at random."""
    noise = torch.Generator().manual_seed(7)
    groups = channel_groups(MODELS[model]().networks)
    return {group.name: torch.randperm(group.size, generator=noise) < (group.size + 1) // 2 for group in groups}


def masked(model: str, kept: Tensors) -> Mask:
    family = MODELS[model]()
    return expand(groups_within(family.networks, family.kernels()), kept, family.prunable())


def halved(model: str) -> Mask:
    return masked(model, half(model))


def emptied(model: str) -> Mask:
    """As `halved`, but the first group loses all its channels."""
    kept = half(model)
    return masked(model, kept | {next(iter(kept)): torch.zeros_like(next(iter(kept.values())))})


def thinned(model: str) -> Mask:
    """As `halved`, and weights between the channels that are left are masked too."""
    mask = halved(model)
    return keep_top(random(mask, torch.Generator().manual_seed(9)), 0.7 * mask.kept / mask.size, within=mask)


every_mask = pytest.mark.parametrize("mask_of", [halved, emptied, thinned])

SPECTRAL = [model for model in MODELS if "sngan" in model]


def survivors(model: str, mask: Mask, state: Tensors) -> dict[str, Tensor]:
    """What of each tensor of a state belongs to weights and channels that are kept."""
    groups = channel_groups(MODELS[model]().networks)
    kept = MODELS[model]().masked(mask)
    for group in groups:
        channels = kept_channels([group], kept)[group.name]
        kept |= {part.tensor: part.features(channels) for part in group.along}
    entries = {}
    for name, tensor in state.items():
        weight = name.removeprefix(MOMENTS).rsplit(".", 1)[0] if name.startswith(MOMENTS) else name
        entries[name] = tensor if weight not in kept or not tensor.dim() else tensor[kept[weight]]
    return entries


def loaded(family: Family, state: Tensors, mask: Mask) -> Family:
    materialise(family, torch.device("cpu"))
    kept = family.masked(mask)
    family.networks.load_state_dict({n: t * kept[n] if n in kept else t for n, t in weights_only(state).items()})
    return family


@every_mask
@every_model
def test_masked_and_compact_networks_have_the_same_outputs(model: str, mask_of: Callable[[str], Mask]) -> None:
    mask, state = mask_of(model), start(model)
    compaction = Compaction(MODELS[model](), mask)
    dense = loaded(MODELS[model](), state, mask)
    small = loaded(compaction.family(), compaction.compact(state), compaction.mask)
    for name, network in dense.networks.items():
        encodes = dense.bodies.get(name) == "encode"
        shape = (1 if model != "dcgan_rgb" else 3, 32, 32) if encodes else (dense.latent,)
        inputs = torch.randn(10, *shape, generator=torch.Generator().manual_seed(3))
        for training in (False, True, False):
            left, right = (n.train(training)(inputs) for n in (network, small.networks[name]))
            torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask_of", [halved, thinned])
def test_training_is_the_same_in_the_compact_network_without_norms(mask_of: Callable[[str], Mask]) -> None:
    mask, state = mask_of("wgan_gp"), start("wgan_gp")
    dense, logged = trained("wgan_gp", MODELS["wgan_gp"](), state, mask, 1, 3)
    compact, logged_compactly = compactly("wgan_gp", mask, state, 1, 3)
    assert_survivors_agree("wgan_gp", mask, dense, compact)
    for left, right in zip(logged, logged_compactly, strict=True):
        assert left.means == pytest.approx(right.means, rel=1e-5)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in {*RESIDUAL, "wgan_gp"}])
@pytest.mark.parametrize("mask_of", [halved, thinned])
def test_training_is_the_same_in_the_compact_network(
    model: str, mask_of: Callable[[str], Mask], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gradient of a bias before a norm is nothing but rounding errors, by which fp32 networks differ beyond 1e-5.
    assert_trains_the_same_in_fp64(model, mask_of(model), monkeypatch)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in {*SPECTRAL, "wgan_gp"}])
def test_training_is_the_same_where_a_layer_has_lost_all_its_channels(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A norm over what is constant then multiplies rounding errors by 1/sqrt(eps): what they are in fp64 shows nothing.
    assert_trains_the_same_in_fp64(model, emptied(model), monkeypatch)


@pytest.mark.parametrize("model", RESIDUAL)
def test_training_is_the_same_in_the_compact_residual_network(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In fp32 the rounding errors of sums over fewer channels grow through so many norms beyond 1e-5.
    for mask in (halved(model), thinned(model)):
        assert_trains_the_same_in_fp64(model, mask, monkeypatch)


def assert_trains_the_same_in_fp64(model: str, mask: Mask, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {name: tensor.double() if tensor.dim() else tensor for name, tensor in start(model).items()}
    monkeypatch.setattr(Family, "run", lambda family, name, inputs, **_: family.networks[name](inputs.double()))
    dense, logged = trained(model, in_fp64(MODELS[model]()), state, mask, 1, 3)
    compaction = Compaction(in_fp64(MODELS[model]()), mask)
    small, compactly = trained(model, compaction.family(), compaction.compact(state), compaction.mask, 1, 3)
    assert_survivors_agree(model, mask, dense, compaction.scatter(small, state))
    for left, right in zip(logged, compactly, strict=True):
        assert left.means == pytest.approx(right.means, rel=1e-5)


def in_fp64(family: Family) -> Family:
    family.networks.double()
    return family


def assert_survivors_agree(model: str, mask: Mask, left: Tensors, right: Tensors) -> None:
    assert list(left) == list(right)
    assert any(name.startswith(MOMENTS) for name in left)
    left, right = survivors(model, mask, left), survivors(model, mask, right)
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@every_mask
@every_model
def test_what_is_scattered_back_untrained_is_what_it_was_but_for_masked_weights(
    model: str, mask_of: Callable[[str], Mask]
) -> None:
    mask, state = mask_of(model), start(model)
    compaction = Compaction(MODELS[model](), mask)
    back = compaction.scatter(compaction.compact(state), state)
    kept = MODELS[model]().masked(mask)
    assert_bit_equal(back, {n: t.masked_fill(~kept[n], 0) if n in kept else t for n, t in state.items()})


@every_model
def test_what_belongs_to_removed_channels_stays_and_moments_begin_at_zero(model: str) -> None:
    mask, initial = halved(model), trained(model, MODELS[model](), None, None, 0, 0)[0]
    compaction = Compaction(MODELS[model](), mask)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in compaction.compact(start(model)).items()}
    back = compaction.scatter(zeros, initial)
    for group in channel_groups(MODELS[model]().networks):
        removed = ~kept_channels([group], MODELS[model]().masked(mask))[group.name]
        for part in group.along:
            features = part.features(removed)
            assert back[part.tensor][features].equal(initial[part.tensor][features])
            assert not back[part.tensor][~features].any()
    assert not any(tensor.any() for name, tensor in back.items() if name.startswith(MOMENTS))
    assert {name: tensor.shape for name, tensor in back.items()} == {n: t.shape for n, t in start(model).items()}


@every_mask
@every_model
def test_training_can_be_split_anywhere(model: str, mask_of: Callable[[str], Mask]) -> None:
    mask, initial = mask_of(model), trained(model, MODELS[model](), None, None, 0, 0)[0]
    at_once, _ = compactly(model, mask, initial, 0, 2)
    first, _ = compactly(model, mask, initial, 0, 1)
    assert_bit_equal(compactly(model, mask, first, 1, 2)[0], at_once)


def assert_bit_equal(left: Tensors, right: Tensors) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not left[name].equal(right[name])] == []


@every_model
def test_moments_are_restored_with_the_strides_of_their_weights(model: str) -> None:
    compaction = Compaction(MODELS[model](), halved(model))
    family = compaction.family()
    materialise(family, torch.device("cpu"))
    optimizers = optimizers_of(family, RECIPE)
    restore(compaction.compact(start(model)), family, optimizers)
    for optimizer in optimizers.values():
        for parameter, moments in optimizer.state.items():
            assert moments["exp_avg"].stride() == parameter.stride()
            assert moments["exp_avg_sq"].stride() == parameter.stride()


@every_model
def test_the_compact_network_holds_the_kept_weights_and_says_so(model: str) -> None:
    mask = halved(model)
    compaction = Compaction(MODELS[model](), mask)
    family = compaction.family()
    assert compaction.smaller
    assert compaction.mask == Mask.dense(family.prunable())
    assert compaction.mask.size == mask.kept
    for layer in family.networks.to("meta").modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.shape == (layer.out_features, layer.in_features)
        elif isinstance(layer, nn.Conv2d):
            assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels)
        elif isinstance(layer, nn.ConvTranspose2d):
            assert layer.weight.shape[:2] == (layer.in_channels, layer.out_channels)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.shape == layer.running_var.shape == (layer.num_features,)


@every_model
def test_a_family_with_weights_is_left_as_it_was(model: str) -> None:
    family = MODELS[model]()
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    before = capture(family, {})
    small = Compaction(family, halved(model)).family()
    assert type(small) is type(family)
    assert all(tensor.is_meta for tensor in small.networks.parameters())
    assert_bit_equal(capture(family, {}), before)


@every_model
def test_nothing_is_smaller_where_no_whole_channel_is_masked(model: str) -> None:
    family = MODELS[model]()
    mask = keep_top(random(family.prunable(), torch.Generator().manual_seed(1)), 0.9)
    compaction = Compaction(family, mask)
    assert not compaction.smaller
    assert compaction.mask == mask
    assert str(compaction.family().networks) == str(family.networks)
    assert_bit_equal(compaction.compact(start(model)), start(model))
