"""Which channels there are, and masks of them."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from workers.channels.kept import ChannelGroup, Slice, channel_groups, expand, kept_channels
from workers.masks import Mask
from workers.models import build
from workers.models.backbones import residual

SPECS = [LinearAutoencoder(width=8, latent=8), VAE(width=2, latent=3), DCGAN(width=2, latent=3)]


def groups_of(*layers: nn.Module) -> list[ChannelGroup]:
    return channel_groups(nn.ModuleDict({"net": nn.Sequential(*layers)}))


def sizes_of(*layers: nn.Module) -> dict[str, int]:
    return {group.name: group.size for group in groups_of(*layers)}


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        (SPECS[0], {"encoder.down1.linear": 8, "decoder.from_code.linear": 8}),
        (
            SPECS[1],
            {f"encoder.down{k}.conv": 1 << k for k in (1, 2, 3, 4)}
            | {"decoder.from_posterior.conv": 16}
            | {f"decoder.up{k}.conv": 1 << (k - 1) for k in (4, 3, 2)},
        ),
        (
            SPECS[2],
            {f"discriminator.down{k}.conv": 1 << k for k in (1, 2, 3)}
            | {"generator.from_noise.conv": 8, "generator.up3.conv": 4, "generator.up2.conv": 2},
        ),
    ],
)
def test_every_hidden_layer_is_a_group_and_no_input_or_output_is(spec: ModelSpec, sizes: dict[str, int]) -> None:
    groups = channel_groups(build(spec, (1, 32, 32)).networks)
    assert {group.name: group.size for group in groups} == {f"{name}.weight": size for name, size in sizes.items()}


def test_a_group_knows_all_that_has_an_entry_for_each_channel() -> None:
    (group,) = groups_of(nn.ConvTranspose2d(3, 4, 2), nn.BatchNorm2d(4), nn.PReLU(), nn.Conv2d(4, 5, 1))
    norm = ("net.1.weight", "net.1.bias", "net.1.running_mean", "net.1.running_var")
    assert group == ChannelGroup(
        name="net.0.weight",
        size=4,
        outputs=(Slice("net.0.weight", axis=1, block=1),),
        inputs=(Slice("net.3.weight", axis=1, block=1),),
        along=tuple(Slice(name, 0, 1) for name in ("net.0.bias", *norm)),
        gammas=("net.1.weight",),
    )


def test_where_there_is_no_bias_and_no_affine_norm_there_is_nothing_along() -> None:
    norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
    (group,) = groups_of(nn.Conv2d(3, 4, 1, bias=False), norm, nn.Conv2d(4, 5, 1))
    assert (group.along, group.gammas) == ((), ())


def test_flattened_maps_are_blocks_of_what_reads_them() -> None:
    layers = (nn.Conv2d(1, 3, 1), nn.Flatten(), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))
    (group,) = groups_of(*layers)
    assert (group.size, group.outputs, group.gammas) == (3, (Slice("net.0.weight", 0, 1),), ())
    assert group.inputs == (Slice("net.4.weight", 1, 4),)
    assert Slice("net.2.running_var", 0, 4) in group.along


def test_features_that_become_a_map_are_one_channel() -> None:
    unflatten = nn.Unflatten(1, (3, 2, 2))
    layers = (nn.Linear(5, 12), nn.BatchNorm1d(12), unflatten, nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 1, 2))
    (group,) = groups_of(*layers)
    assert (group.size, group.outputs, group.gammas) == (3, (Slice("net.0.weight", 0, 4),), ("net.3.weight",))
    assert group.inputs == (Slice("net.4.weight", 0, 1),)
    assert {Slice("net.0.bias", 0, 4), Slice("net.1.bias", 0, 4), Slice("net.3.bias", 0, 1)} < set(group.along)
    assert group.unflattens == ("net.2",)


def test_maps_can_be_flattened_and_made_maps_again() -> None:
    layers = (nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Tanh(), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 1, 1))
    (group,) = groups_of(*layers)
    assert group.outputs + group.inputs == (Slice("net.0.weight", 0, 1), Slice("net.4.weight", 1, 1))


@pytest.mark.parametrize(
    "barrier",
    [
        nn.Conv2d(4, 4, 1, groups=2),
        nn.PixelShuffle(1),
        nn.Softmax(dim=1),
        nn.PReLU(4),
        nn.GLU(dim=1),
        nn.GroupNorm(2, 4),
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.utils.spectral_norm(nn.Conv2d(4, 4, 1)),
        type("Own", (nn.ReLU,), {})(),
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 2, 1))),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_may_mix_channels_are_barriers(barrier: nn.Module) -> None:
    behind = (nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    assert sizes_of(nn.Conv2d(1, 4, 1), barrier, *behind) == {"net.2.weight": 6}


def test_pooling_over_features_is_a_barrier() -> None:
    assert sizes_of(nn.Linear(2, 4), nn.MaxPool2d(1), nn.Linear(4, 2)) == {}
    assert sizes_of(nn.Conv2d(2, 4, 1), nn.MaxPool2d(1), nn.Conv2d(4, 2, 1)) == {"net.0.weight": 4}


def test_maps_that_are_not_flattened_whole_are_a_barrier() -> None:
    assert sizes_of(nn.Conv2d(1, 4, 1), nn.Flatten(2), nn.Linear(4, 2)) == {}
    assert sizes_of(nn.Conv2d(1, 4, 1), nn.Flatten(1), nn.Linear(4, 2)) == {"net.0.weight": 4}


def test_a_layer_whose_kernel_is_computed_is_neither_read_nor_made_smaller() -> None:
    computed = nn.utils.spectral_norm(nn.Conv2d(4, 6, 1))
    assert sizes_of(nn.Conv2d(1, 4, 1), computed, nn.ReLU(), nn.Conv2d(6, 2, 1)) == {}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.body(inputs)
        return outputs


def around(body: list[nn.Module], shortcut: nn.Module) -> residual.Residual:
    return residual.Residual(nn.Sequential(*body), shortcut)


def test_what_a_shortcut_adds_to_is_one_group_with_all_that_make_and_read_it() -> None:
    block = around([nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)], nn.Identity())
    stream, inside = groups_of(nn.Conv2d(1, 4, 1), nn.ReLU(), block, nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert [part.tensor for part in stream.outputs] == ["net.0.weight", "net.2.body.2.weight"]
    assert [part.tensor for part in stream.inputs] == ["net.2.body.0.weight", "net.4.weight"]
    assert stream.gammas == ("net.2.body.3.weight",)
    assert [part.tensor for part in (*inside.outputs, *inside.inputs)] == ["net.2.body.0.weight", "net.2.body.2.weight"]


def test_a_shortcut_with_a_kernel_reads_one_group_and_makes_another() -> None:
    block = around([nn.Conv2d(4, 6, 1)], nn.Conv2d(4, 6, 1))
    before, after = groups_of(nn.Conv2d(1, 4, 1), block, nn.Conv2d(6, 2, 1))
    assert [part.tensor for part in before.inputs] == ["net.1.body.0.weight", "net.1.shortcut.weight"]
    assert [part.tensor for part in after.outputs] == ["net.1.body.0.weight", "net.1.shortcut.weight"]
    assert after.size == 6


@pytest.mark.parametrize("barrier", [nn.GroupNorm(2, 4), nn.Softmax(dim=1)])
def test_a_barrier_on_either_way_leaves_the_whole_sum_alone(barrier: nn.Module) -> None:
    for block in (around([nn.Conv2d(4, 4, 1), barrier], nn.Identity()), around([nn.Conv2d(4, 4, 1)], barrier)):
        assert sizes_of(nn.Conv2d(1, 4, 1), block, nn.Conv2d(4, 2, 1)) == {}


def test_a_sum_in_which_one_channel_is_added_to_all_is_no_group() -> None:
    block = around([nn.Conv2d(4, 4, 1)], nn.Conv2d(4, 1, 1))
    assert sizes_of(nn.Conv2d(1, 4, 1), block, nn.Conv2d(4, 2, 1)) == {"net.0.weight": 4}


def test_a_sum_that_leaves_the_network_is_no_group() -> None:
    assert sizes_of(nn.Conv2d(1, 4, 1), around([nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 1)], nn.Identity())) == {
        "net.1.body.0.weight": 5
    }


@pytest.mark.parametrize("made", [nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(3, 4, 2)])
def test_vectors_of_spectral_norms_go_with_the_channels_that_are_made_and_read(made: nn.Module) -> None:
    (group,) = groups_of(spectral_norm(made), nn.ReLU(), spectral_norm(nn.Conv2d(4, 5, 3)))
    vectors = {part.tensor: part for part in group.along if "parametrizations" in part.tensor}
    assert vectors == {
        "net.0.parametrizations.weight.0._u": Slice("net.0.parametrizations.weight.0._u", 0, 1),
        "net.2.parametrizations.weight.0._v": Slice("net.2.parametrizations.weight.0._v", 0, 9),
    }
    assert [part.tensor for part in (*group.outputs, *group.inputs)] == [
        "net.0.parametrizations.weight.original",
        "net.2.parametrizations.weight.original",
    ]


@pytest.mark.parametrize(
    "compute",
    [
        lambda layer: spectral_norm(layer, dim=1),
        lambda layer: spectral_norm(layer, "bias"),
        lambda layer: spectral_norm(spectral_norm(layer)),
        weight_norm,
        orthogonal,
    ],
    ids=["by columns", "of the bias", "twice", "weight norm", "orthogonal"],
)
def test_kernels_under_anything_but_a_plain_spectral_norm_are_barriers(
    compute: Callable[[nn.Module], nn.Module],
) -> None:
    layers = (nn.Conv2d(1, 4, 1), compute(nn.Conv2d(4, 4, 1)), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 1, 1))
    assert sizes_of(*layers) == {"net.2.weight": 5}


def test_sums_within_sums_and_one_after_the_other_are_one_group() -> None:
    nested = around([around([nn.Conv2d(4, 4, 1)], nn.Identity())], nn.Conv2d(4, 4, 1))
    following = around([nn.Conv2d(4, 4, 1)], nn.Sequential(nn.ReLU()))
    (group,) = groups_of(nn.Conv2d(1, 4, 1), nested, following, nn.Conv2d(4, 1, 1))
    inner = {"net.1.body.0.body.0.weight", "net.1.shortcut.weight", "net.2.body.0.weight"}
    assert {part.tensor for part in group.outputs} == {"net.0.weight", *inner}
    assert {part.tensor for part in group.inputs} == {*inner, "net.3.weight"}


def test_maps_are_not_added_to_features() -> None:
    folded = around([nn.Unflatten(1, (3, 2, 2)), nn.ReLU(), nn.Flatten()], nn.Identity())
    assert sizes_of(nn.Linear(2, 12), folded, nn.Linear(12, 2)) == {}


@pytest.mark.parametrize("spec", [VAE(width=2, backbone="resnet"), DCGAN(width=2, backbone="resnet")])
def test_of_a_residual_network_every_hidden_channel_is_in_one_group(spec: ModelSpec) -> None:
    family = build(spec, (1, 32, 32))
    outputs = [part.tensor for group in channel_groups(family.networks) for part in group.outputs]
    heads = ("to_posterior", "to_logit", "up1.image")
    assert sorted(outputs) == sorted(name for name in family.kernels() if not any(head in name for head in heads))


def test_what_is_no_chain_has_no_groups() -> None:
    assert sizes_of(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), Residual()) == {}
    assert channel_groups(nn.ModuleDict({"net": nn.Linear(2, 2)})) == []


def test_what_shares_a_tensor_has_no_groups() -> None:
    twice = nn.Conv2d(4, 4, 1)
    assert sizes_of(nn.Conv2d(1, 4, 1), twice, nn.ReLU(), twice) == {}
    tied = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    tied[1][0].weight = tied[0][0].weight
    assert channel_groups(nn.ModuleDict({"encoder": tied[0], "decoder": tied[1]})) == []


def test_a_layer_without_weights_may_be_called_twice() -> None:
    relu = nn.ReLU()
    layers = (nn.Conv2d(1, 4, 1), relu, nn.Conv2d(4, 5, 1), relu, nn.Conv2d(5, 1, 1))
    assert sizes_of(*layers) == {"net.0.weight": 4, "net.2.weight": 5}
    soft = nn.Softmax(dim=1)
    layers = (nn.Conv2d(1, 4, 1), soft, nn.Conv2d(4, 5, 1), soft, nn.Conv2d(5, 1, 1))
    assert sizes_of(*layers) == {}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@given(seed=st.integers(0, 1000))
def test_reading_a_mask_undoes_its_expansion(spec: ModelSpec, seed: int) -> None:
    family = build(spec, (1, 32, 32))
    groups = channel_groups(family.networks)
    noise = torch.Generator().manual_seed(seed)
    kept = {group.name: torch.rand(group.size, generator=noise) < 0.5 for group in groups}
    for channels in kept.values():
        channels[int(torch.randint(len(channels), (), generator=noise))] = True
    found = kept_channels(groups, expand(groups, kept, family.prunable()))
    assert {name: channels.tolist() for name, channels in found.items()} == {n: c.tolist() for n, c in kept.items()}


def test_the_mask_removes_what_makes_and_what_reads_a_channel() -> None:
    layers = (nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2), nn.Linear(2, 1))
    networks = nn.ModuleDict({"net": nn.Sequential(*layers)})
    groups = channel_groups(networks)
    kept = {"net.0.weight": torch.tensor([False, True]), "net.2.weight": torch.tensor([True, True])}
    mask = expand(groups, kept, {name: p for name, p in networks.named_parameters() if name.endswith("weight")})
    assert mask["net.0.weight"].flatten().tolist() == [False, True]
    assert mask["net.2.weight"].tolist() == [[False] * 4 + [True] * 4] * 2
    assert mask["net.3.weight"].all()


def test_a_channel_is_kept_while_any_weight_makes_or_reads_it() -> None:
    groups = groups_of(nn.Linear(2, 3), nn.Linear(3, 1))
    made = torch.tensor([[False, False], [False, True], [False, False]])
    read = torch.tensor([[False, False, True]])
    assert kept_channels(groups, Mask({"net.0.weight": made, "net.1.weight": read}))["net.0.weight"].tolist() == [
        False,
        True,
        True,
    ]
    assert kept_channels(groups, Mask({"net.0.weight": made}))["net.0.weight"].all()
