"""Costs, against networks that are built as small as a mask leaves them."""

import functools

import pytest
import torch

from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from workers.channels.compaction import Compaction
from workers.channels.kept import channel_groups, expand
from workers.costs.flops import step_flops
from workers.costs.steps import Cost, cost, narrowed
from workers.masks import Mask, keep_top
from workers.models import build
from workers.pruning import random

IMAGE, BATCH = (1, 32, 32), 5
SPECS: list[ModelSpec] = [LinearAutoencoder(width=12, latent=4), VAE(width=4, latent=3), DCGAN(width=4, latent=3)]
every_model = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
both_sizes = pytest.mark.parametrize("equal", ["parameters", "flops"])


def parameters_of(spec: ModelSpec) -> int:
    return sum(p.numel() for p in build(spec, IMAGE).networks.parameters())


@functools.cache
def of_width(spec: ModelSpec, width: int, equal: str) -> int:
    narrow = spec.model_copy(update={"width": width})
    return (
        parameters_of(narrow) if equal == "parameters" else sum(step_flops(build(narrow, IMAGE), IMAGE, BATCH).values())
    )


def of_weights(spec: ModelSpec, density: float) -> Mask:
    return keep_top(random(build(spec, IMAGE).prunable(), torch.Generator().manual_seed(0)), density)


def of_channels(spec: ModelSpec) -> Mask:
    """The mask that removes every other channel of each layer."""
    family = build(spec, IMAGE)
    groups = channel_groups(family.networks)
    return expand(groups, {group.name: torch.arange(group.size) % 2 == 0 for group in groups}, family.prunable())


@every_model
def test_the_whole_network_costs_all_its_kernels_and_all_its_parameters(spec: ModelSpec) -> None:
    flops = sum(step_flops(build(spec, IMAGE), IMAGE, BATCH).values())
    assert cost(spec, IMAGE, BATCH) == Cost(flops, flops, parameters_of(spec))
    assert cost(spec, IMAGE, 3 * BATCH).step == 3 * flops
    assert cost(spec, IMAGE, BATCH, Mask.dense(build(spec, IMAGE).prunable())) == cost(spec, IMAGE, BATCH)


@every_model
def test_half_of_all_channels_cost_what_half_the_width_costs(spec: ModelSpec) -> None:
    half = spec.model_copy(update={"width": spec.width // 2})
    assert cost(spec, IMAGE, BATCH, of_channels(spec)) == cost(half, IMAGE, BATCH)
    assert cost(half, IMAGE, BATCH).parameters == parameters_of(half)


@every_model
def test_masked_weights_save_no_flops_but_in_theory(spec: ModelSpec) -> None:
    mask, flops = of_weights(spec, 0.9), step_flops(build(spec, IMAGE), IMAGE, BATCH)
    assert not Compaction(build(spec, IMAGE), mask).smaller
    found = cost(spec, IMAGE, BATCH, mask)
    assert found.step == sum(flops.values())
    assert found.sparse_step == pytest.approx(sum(n * float(mask[name].float().mean()) for name, n in flops.items()))
    assert found.parameters == parameters_of(spec) - int(sum((~kept).sum() for kept in mask.values()))


def test_what_a_mask_does_not_cover_costs_as_much_as_ever() -> None:
    flops, mask = step_flops(build(SPECS[2], IMAGE), IMAGE, BATCH), of_weights(SPECS[2], 0.9)
    found = cost(SPECS[2], IMAGE, BATCH, Mask({n: kept for n, kept in mask.items() if n.startswith("generator")}))
    densities = {name: float(mask[name].float().mean()) if name.startswith("generator") else 1.0 for name in flops}
    assert found.sparse_step == pytest.approx(sum(n * densities[name] for name, n in flops.items()))


@every_model
def test_weights_masked_among_the_channels_that_are_left_count_once(spec: ModelSpec) -> None:
    mask, half = of_channels(spec), spec.model_copy(update={"width": spec.width // 2})
    name = next(reversed(list(mask)))  # of the layer that makes the image, half of what is left
    thinned = Mask({**mask, name: mask[name] & of_weights(spec, 0.5)[name]})
    lost = mask.kept - thinned.kept
    assert lost
    whole, found = cost(half, IMAGE, BATCH), cost(spec, IMAGE, BATCH, thinned)
    assert (found.step, found.parameters) == (whole.step, whole.parameters - lost)
    saved = step_flops(build(half, IMAGE), IMAGE, BATCH)[name] * lost / mask.counts[name]
    assert found.sparse_step == pytest.approx(whole.step - saved)


@both_sizes
@every_model
def test_the_narrower_network_is_the_nearest_of_all(spec: ModelSpec, equal: str) -> None:
    widths = []
    for density in (0.0, 0.03, 0.1, 0.2, 0.4, 0.5, 0.7, 0.85, 0.95, 1.0):
        mask = of_weights(spec, density)
        found = cost(spec, IMAGE, BATCH, mask)
        goal = found.parameters if equal == "parameters" else found.sparse_step
        off = {width: abs(of_width(spec, width, equal) - goal) for width in range(1, spec.width + 1)}
        narrow = narrowed(spec, IMAGE, BATCH, mask, equal)
        assert off[narrow.width] == min(off.values())
        assert narrow == spec.model_copy(update={"width": narrow.width})
        widths.append(narrow.width)
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (1, spec.width)
    assert len(set(widths)) > 2


@both_sizes
@every_model
def test_a_mask_of_half_the_channels_is_matched_by_half_the_width(spec: ModelSpec, equal: str) -> None:
    assert narrowed(spec, IMAGE, BATCH, of_channels(spec), equal).width == spec.width // 2


@pytest.mark.parametrize("spec", [VAE(width=4, latent=4), DCGAN(width=4, latent=16), LinearAutoencoder(width=16)])
def test_of_a_layer_without_channels_no_parameter_is_kept(spec: ModelSpec) -> None:
    family = build(spec, (1, 32, 32))
    groups = channel_groups(family.networks)
    nothing = {group.name: torch.zeros(group.size, dtype=torch.bool) for group in groups}
    mask = expand(groups, nothing, family.prunable())
    sizes = {name: parameter.numel() for name, parameter in family.networks.named_parameters()}
    gone = {part.tensor for group in groups for part in (*group.outputs, *group.inputs, *group.along)}
    assert cost(spec, (1, 32, 32), 20, mask).parameters == sum(n for name, n in sizes.items() if name not in gone)
