"""Controls by their names: what of a mask stays, and what does not."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from workers.channels.compaction import Compaction
from workers.channels.kept import channel_groups, expand, kept_channels
from workers.masks import Mask, keep_top
from workers.models import build
from workers.pruning import random
from workers.pruning.controls import redraw

HOWS = ["shuffle_layer", "shuffle_filter", "random_global", "erk", "random_channels"]
SPECS: list[ModelSpec] = [LinearAutoencoder(width=12, latent=4), VAE(width=4, latent=3), DCGAN(width=4, latent=3)]
GAN = build(SPECS[-1], (1, 32, 32))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(density: float = 0.5) -> Mask:
    """A mask of single weights, the layers of unequal density."""
    scores = random(GAN.prunable(), drawn(1))
    return keep_top({name: score * (1 + n / 4) for n, (name, score) in enumerate(scores.items())}, density)


def channels(spec: ModelSpec, *components: str) -> Mask:
    """A mask of channels: the first third of each layer, of the components named or of all."""
    family = build(spec, (1, 32, 32))
    names = components or tuple(family.networks)
    parameters = {n: p for n, p in family.prunable().items() if n.split(".")[0] in names}
    groups = [group for group in channel_groups(family.networks) if group.name in parameters]
    return expand(groups, {g.name: torch.arange(g.size) < (g.size + 2) // 3 for g in groups}, parameters)


def filters(name: str, kept: Tensor) -> list[tuple[bool, ...]]:
    """The patterns of the weights that make each output channel; transposed convolutions have those along axis 1."""
    transposed = name.startswith("generator")
    return [tuple(part.flatten().tolist()) for part in kept.unbind(int(transposed))]


def test_shuffled_layers_keep_their_counts_and_no_pattern() -> None:
    mask = weights()
    moved = redraw(GAN, mask, "shuffle_layer", drawn())
    assert moved.counts == mask.counts
    assert all(
        Counter(filters(n, moved[n])) != Counter(filters(n, mask[n])) for n in mask if len(filters(n, mask[n])) > 1
    )


def test_shuffled_filters_are_those_of_output_channels() -> None:
    mask = weights()
    moved = redraw(GAN, mask, "shuffle_filter", drawn())
    assert all(Counter(filters(name, moved[name])) == Counter(filters(name, mask[name])) for name in mask)
    several = [name for name in mask if len(filters(name, mask[name])) > 1]
    assert len(several) == 6
    assert all(filters(name, moved[name]) != filters(name, mask[name]) for name in several)


@pytest.mark.parametrize("how", ["random_global", "erk"])
def test_counts_of_layers_change_where_only_their_sum_stays(how: str) -> None:
    mask = weights()
    moved = redraw(GAN, mask, how, drawn())
    assert moved.kept == mask.kept
    assert all(moved.counts[name] != count for name, count in mask.counts.items())


def test_erk_has_the_same_counts_whatever_mask_it_replaces() -> None:
    mask = weights()
    first, second = (redraw(GAN, m, "erk", drawn()) for m in (mask, redraw(GAN, mask, "random_global", drawn())))
    assert first.counts == second.counts
    densities = {name: count / first[name].numel() for name, count in first.counts.items()}
    assert densities["generator.up1.conv.weight"] == 1  # shape (4, 1, 4, 4): the highest of sum over product
    assert densities["discriminator.down3.conv.weight"] < 0.5 < densities["discriminator.down2.conv.weight"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_random_channels_leave_every_layer_as_wide_and_the_network_as_small(spec: ModelSpec) -> None:
    family, mask = build(spec, (1, 32, 32)), channels(spec)
    groups = channel_groups(family.networks)
    moved = redraw(family, mask, "random_channels", drawn())
    before, after = (kept_channels(groups, m) for m in (mask, moved))
    assert {name: int(kept.sum()) for name, kept in after.items()} == {n: int(k.sum()) for n, k in before.items()}
    assert any(not after[name].equal(before[name]) for name in before)
    assert moved == expand(groups, after, family.prunable()), "nothing is left out but whole channels"
    small, other = Compaction(family, mask), Compaction(family, moved)
    assert other.smaller
    assert {n: t.shape for n, t in other.mask.items()} == {n: t.shape for n, t in small.mask.items()}


def test_random_channels_are_drawn_uniformly() -> None:
    mask = channels(SPECS[-1])
    groups = channel_groups(GAN.networks)
    draws = [kept_channels(groups, redraw(GAN, mask, "random_channels", drawn(seed))) for seed in range(60)]
    for group in groups:
        often = torch.stack([draw[group.name] for draw in draws]).double().mean(0)
        share = ((group.size + 2) // 3) / group.size
        assert (often - share).abs().max() < 4 * (share * (1 - share) / 60) ** 0.5


@pytest.mark.parametrize("how", HOWS)
def test_a_mask_of_one_component_stays_one(how: str) -> None:
    mask = channels(SPECS[-1], "generator")
    moved = redraw(GAN, mask, how, drawn())
    assert {name: kept.shape for name, kept in moved.items()} == {name: kept.shape for name, kept in mask.items()}
    assert moved != mask
    assert moved.kept == mask.kept


def test_layers_that_are_not_pruned_keep_the_channels_that_they_share() -> None:
    groups = [group for group in channel_groups(GAN.networks) if "up2" not in str(group)]
    parameters = {name: weight for name, weight in GAN.prunable().items() if "up2" not in name}
    mask = expand(groups, {g.name: torch.arange(g.size) < g.size // 2 for g in groups}, parameters)
    moved = redraw(GAN, mask, "random_channels", drawn())
    assert list(moved) == list(mask)
    assert moved.counts == mask.counts
    assert moved["generator.up1.conv.weight"].all()


@pytest.mark.parametrize("how", HOWS)
def test_what_is_drawn_comes_from_the_generator_alone(how: str) -> None:
    mask, state = channels(SPECS[-1]), torch.get_rng_state()
    first, again, other = (redraw(GAN, mask, how, drawn(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert torch.get_rng_state().equal(state)
