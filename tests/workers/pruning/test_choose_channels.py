"""Choosing channels, against channels that are ranked here by other means."""

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.criterion import Scope
from search_spaces.methods import EarlyBird
from search_spaces.models import DCGAN
from tests.workers.pruning.test_choose import NONE, RANKINGS, made
from workers.channels.kept import channel_groups
from workers.masks import Mask, tie_breaker
from workers.masks.scope import CriterionError
from workers.models import Family, draw_weights
from workers.models.families import Autoencoder
from workers.pruning.choose import choose
from workers.pruning.choose_channels import _best
from workers.pruning.chosen import Chosen
from workers.randomness import generator

pytestmark = pytest.mark.usefixtures("one_thread")

WIDE = DCGAN(width=4, latent=3)
CHANNELS = {
    "discriminator.down1": 4,
    "discriminator.down2": 8,
    "discriminator.down3": 16,
    "generator.from_noise": 16,
    "generator.up3": 8,
    "generator.up2": 4,
}


def scaled(seed: int = 0) -> Family:
    """A GAN whose norms have scales that all differ, of either sign."""
    family = made(WIDE)
    scales = torch.randperm(sum(CHANNELS.values()), generator=torch.Generator().manual_seed(seed)) + 1.0
    for n, (layer, part) in enumerate(zip(CHANNELS, scales.split(list(CHANNELS.values())), strict=True)):
        with torch.no_grad():
            norm(family, layer).copy_(part * (-1) ** n / 56)
    return family


def norm(family: Family, layer: str) -> nn.Parameter:
    return family.networks.get_parameter(f"{layer}.norm.weight")


def channels(family: Family, density: float, *, ties: int = 0, **options: Any) -> Chosen:
    return choose(family, EarlyBird(**options).criterion, density, None, NONE, 0, ties)


def kept_of(found: Chosen) -> dict[str, Tensor]:
    return {name.removesuffix(".conv.weight"): kept for name, kept in found.kept.items()}


def test_channels_are_ranked_by_the_size_of_their_scales_across_components() -> None:
    for seed, density in itertools.product((0, 1, 3), (0.5, 0.7, 0.9)):
        family = scaled(seed)
        found = channels(family, density)
        count = round(56 * density)
        edge = torch.cat([norm(family, layer).abs() for layer in CHANNELS]).sort(descending=True).values[count - 1]
        best = {layer: (norm(family, layer).abs() >= edge).tolist() for layer in CHANNELS}
        assert all(map(any, best.values())), "no layer has to be saved"
        assert {layer: kept.tolist() for layer, kept in kept_of(found).items()} == best
        assert (found.decided, found.scored_by) == (True, "gamma")


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("minimum", [1, 3])
def test_the_number_of_channels_is_exact_above_the_minimum_of_each_layer(density: float, minimum: int) -> None:
    found = channels(scaled(), density, minimum=minimum)
    assert found.kept.kept == max(round(56 * density), minimum * 6)
    assert {layer: len(kept) for layer, kept in kept_of(found).items()} == CHANNELS
    assert min(found.kept.counts.values()) >= minimum


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("minimum", [1, 3])
def test_every_layer_keeps_the_minimum_in_whatever_is_ranked_together(ranking: str, minimum: int) -> None:
    scope = Scope(ranking=ranking, exempt=("decode.up1", "encode.down3"))
    found = channels(scaled(), 0.06, minimum=minimum, scope=scope)
    counts = {layer: int(kept.sum()) for layer, kept in kept_of(found).items()}
    assert counts == dict.fromkeys(("discriminator.down1", "generator.from_noise", "generator.up3"), minimum)


@pytest.mark.parametrize(
    ("ranking", "shares"),
    [("global", [range(6)]), ("per_component", [range(3), range(3, 6)]), ("layerwise", [[n] for n in range(6)])],
)
def test_shares_of_channels_are_exact_in_whatever_is_ranked_together(ranking: str, shares: list[range]) -> None:
    sizes = list(CHANNELS.values())
    for density in (0.3, 0.5, 0.8):
        counts = list(channels(scaled(), density, scope=Scope(ranking=ranking)).kept.counts.values())
        for share in shares:
            assert sum(counts[n] for n in share) == round(density * sum(sizes[n] for n in share))


def test_a_layer_of_tiny_scales_keeps_its_largest() -> None:
    family = scaled()
    with torch.no_grad():
        norm(family, "generator.up3").mul_(1e-6)
    found = channels(family, 0.5, minimum=2)
    best = norm(family, "generator.up3").abs().topk(2).indices
    assert kept_of(found)["generator.up3"].nonzero().flatten().tolist() == sorted(best.tolist())
    assert found.kept.kept == 28
    assert found.decided


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.9])
def test_scales_as_they_are_at_initialisation_decide_nothing(density: float, ranking: str) -> None:
    assert not channels(made(WIDE), density, scope=Scope(ranking=ranking)).decided
    assert channels(scaled(), density, scope=Scope(ranking=ranking)).decided
    assert channels(made(WIDE), 1.0).decided


@pytest.mark.parametrize("options", [{}, {"minimum": 3}, {"round_to": 8}])
def test_channels_of_one_scale_are_drawn(options: dict[str, int]) -> None:
    first, again, other = (channels(made(WIDE), 0.5, ties=ties, **options) for ties in (1, 1, 2))
    assert first.kept == again.kept != other.kept
    assert 0.5 < first.tied_share <= 1.0


def test_layers_that_are_ranked_apart_draw_their_ties_apart() -> None:
    scores = {name: torch.zeros(1000) for name in ("a.w", "b.w")}
    kept = _best(scores, 0.5, "layerwise", tie_breaker(0))
    assert 0.4 < (kept["a.w"] == kept["b.w"]).double().mean() < 0.6


def test_a_tie_within_a_layer_that_keeps_its_minimum_decides_nothing() -> None:
    family = scaled()
    with torch.no_grad():
        norm(family, "generator.up2").fill_(1e-6)
    assert not channels(family, 0.5).decided
    assert channels(family, 0.5, scope=Scope(components=("discriminator",))).decided


@pytest.mark.parametrize(("count", "decided"), [(4, True), (5, False), (6, True)])
def test_a_tie_between_layers_decides_nothing(count: int, decided: bool) -> None:
    family = scaled()
    largest = {"discriminator.down1": [10.0, 9.0], "discriminator.down2": [8.0, 5.0], "discriminator.down3": [7.0, 5.0]}
    for layer, scales in largest.items():
        with torch.no_grad():
            norm(family, layer).copy_(torch.arange(CHANNELS[layer]) / 100)[:2] = torch.tensor(scales)
    found = channels(family, count / 28, scope=Scope(components=("discriminator",)))
    assert found.kept.kept == count
    assert found.decided == decided


@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.7, 0.9])
def test_rounded_layers_keep_multiples_and_small_ones_all(density: float) -> None:
    family = scaled()
    found, plain = channels(family, density, round_to=8), channels(family, density)
    for layer, kept in kept_of(found).items():
        count, before = int(kept.sum()), int(kept_of(plain)[layer].sum())
        multiples = [n for n in (8, 16) if n <= CHANNELS[layer]] or [CHANNELS[layer]]
        assert abs(count - before) == min(abs(n - before) for n in multiples)
        assert count in multiples
        assert kept.equal(norm(family, layer).abs() >= norm(family, layer).abs().topk(count).values[-1])
    assert found.decided


def test_rounding_goes_below_no_minimum() -> None:
    found = channels(scaled(), 0.1, round_to=8, minimum=9)
    assert {layer: int(kept.sum()) for layer, kept in kept_of(found).items()} == CHANNELS


def test_rounding_by_a_tie_decides_nothing() -> None:
    family = scaled()
    with torch.no_grad():
        norm(family, "generator.from_noise").fill_(0.5)[0] = 0.9
    assert not channels(family, 0.5, round_to=8).decided


def test_the_worst_channels_are_those_of_the_smallest_scales() -> None:
    family = scaled()
    criterion = EarlyBird().inverted().criterion
    found = choose(family, criterion, 0.5, None, NONE, 0, 0)
    edge = torch.cat([norm(family, layer).abs() for layer in CHANNELS]).sort().values[27]
    for layer, kept in kept_of(found).items():
        worst = norm(family, layer).abs() <= edge
        assert worst.any()
        assert kept.equal(worst)


def test_a_channel_goes_with_all_weights_that_make_it_and_that_read_it() -> None:
    family = scaled()
    found = channels(family, 0.5)
    kept = kept_of(found)
    made_by = [(layer, 1 if layer.startswith("generator") else 0) for layer in CHANNELS]
    readers = ["discriminator.down2", "discriminator.down3", "discriminator.to_logit"]
    readers += ["generator.up3", "generator.up2", "generator.up1"]
    masks = {name: torch.ones(weight.shape) for name, weight in family.prunable().items()}
    for (layer, axis), reader in zip(made_by, readers, strict=True):
        for channel, stays in enumerate(kept[layer].tolist()):
            if not stays:
                masks[f"{layer}.conv.weight"].select(axis, channel).zero_()
                masks[f"{reader}.conv.weight"].select(1 - axis, channel).zero_()
    assert found.mask == Mask({name: mask.bool() for name, mask in masks.items()})


def test_channels_of_one_component_are_ranked_and_masked_alone() -> None:
    family = scaled()
    found = channels(family, 0.5, scope=Scope(components=("generator",)))
    assert list(kept_of(found)) == ["generator.from_noise", "generator.up3", "generator.up2"]
    assert list(found.mask) == [name for name in family.prunable() if name.startswith("generator")]
    edge = torch.cat([norm(family, layer).abs() for layer in kept_of(found)]).sort(descending=True).values[13]
    assert all(kept.equal(norm(family, layer).abs() >= edge) for layer, kept in kept_of(found).items())


def test_an_exempt_layer_keeps_the_channels_that_it_makes_and_reads() -> None:
    found = channels(scaled(), 0.5, scope=Scope(exempt=("decode.up2",)))
    assert list(kept_of(found)) == list(CHANNELS)[:4]
    assert "generator.up2.conv.weight" not in found.mask
    assert found.mask["generator.up1.conv.weight"].all()
    assert found.kept.kept == round(44 / 2)


def test_where_no_channels_are_left_they_cannot_be_chosen() -> None:
    scope = Scope(exempt=("encode.down1", "decode.up1"))
    with pytest.raises(CriterionError, match="no channels to choose from"):
        channels(made("linear_autoencoder"), 0.5, scope=scope, fallback="filter_norm")


@functools.cache
def unnormed() -> Family:
    """A network of all kinds of layers and no norms."""
    encoder = nn.Sequential(nn.Conv2d(1, 5, 4, 4), nn.ReLU(), nn.Conv2d(5, 3, 8), nn.Flatten())
    unflatten = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4), nn.Unflatten(1, (4, 1, 1)))
    decoder = nn.Sequential(unflatten, nn.ConvTranspose2d(4, 7, 8), nn.ReLU(), nn.ConvTranspose2d(7, 1, 4, 4))
    family = Autoencoder({"encoder": encoder, "decoder": decoder}, 3, "fp32")
    draw_weights(family.networks, lambda name: generator(0, name))
    return family


def test_a_network_without_norms_has_its_channels_ranked_by_their_filters_if_that_is_asked_for() -> None:
    with pytest.raises(CriterionError, match="which this network lacks; fallback: filter_norm ranks them"):
        channels(unnormed(), 0.5)
    found = channels(unnormed(), 0.7, fallback="filter_norm")
    axes = {"encoder.0": 0, "decoder.0.0": 0, "decoder.0.2": 0, "decoder.1": 1}
    weights = {name: weight.detach() for name, weight in unnormed().prunable().items()}
    norms = {
        f"{layer}.weight": torch.stack([part.norm() for part in weights[f"{layer}.weight"].unbind(axis)])
        for layer, axis in axes.items()
    }
    edge = torch.cat(list(norms.values())).sort(descending=True).values[14]
    assert {name: kept.tolist() for name, kept in found.kept.items()} == {
        name: (values >= edge).tolist() for name, values in norms.items()
    }
    assert (found.kept.kept, found.decided, found.scored_by) == (15, True, "filter_norm")


def test_the_worst_filters_are_those_of_the_smallest_norms() -> None:
    worst = EarlyBird(fallback="filter_norm", scope=Scope(components=("encoder",))).inverted().criterion
    (kept,) = choose(unnormed(), worst, 0.4, None, NONE, 0, 0).kept.values()
    norms = unnormed().prunable()["encoder.0.weight"].detach().flatten(1).norm(dim=1)
    assert kept.nonzero().flatten().tolist() == sorted(norms.topk(2, largest=False).indices.tolist())


def test_filters_are_compared_only_where_some_layer_lacks_a_norm() -> None:
    assert channels(scaled(), 0.5, fallback="filter_norm").scored_by == "gamma"
    family = scaled()
    family.networks.get_submodule("generator.up3").norm = nn.Identity()
    with pytest.raises(CriterionError, match="fallback: filter_norm"):
        channels(family, 0.5)
    assert channels(family, 0.5, fallback="filter_norm").scored_by == "filter_norm"


def test_choosing_channels_leaves_nothing_changed() -> None:
    family, state = scaled(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in family.networks.state_dict().items()}
    channels(family, 0.5)
    assert all(tensor.equal(before[name]) for name, tensor in family.networks.state_dict().items())
    assert torch.get_rng_state().equal(state)
    assert len(channel_groups(family.networks)) == 6
