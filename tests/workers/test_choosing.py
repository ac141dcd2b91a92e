"""Choosing, against masks that are computed here by other means."""

import functools
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from search_spaces.criterion import Criterion, Scope
from search_spaces.methods import SNIP, EarlyBird, Finder, GraSP, Magnitude, SynFlow
from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from workers import scoring
from workers.choosing import choose
from workers.chosen import Chosen
from workers.models import Family, build, draw_weights, initialise, materialise
from workers.models.families import Autoencoder
from workers.pruning import Mask, keep_top
from workers.pruning.channels import channel_groups
from workers.randomness import generator
from workers.scoping import CriterionError, in_scope
from workers.scoring import Subject
from workers.training import normalised

SPECS: dict[str, ModelSpec] = {
    "linear_autoencoder": LinearAutoencoder(width=8, latent=4),
    "vae": VAE(width=2, latent=3),
    "dcgan": DCGAN(width=2, latent=3),
}
SCORES: dict[str, type[Finder]] = {"magnitude": Magnitude, "snip": SNIP, "grasp": GraSP, "synflow": SynFlow}
RANKINGS = ("global", "per_component", "layerwise")
IMAGES = torch.randint(256, (12, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
NONE = torch.empty(0, 1, 32, 32, dtype=torch.uint8)

every_model = pytest.mark.parametrize("model", list(SPECS))
every_score = pytest.mark.parametrize("score", list(SCORES))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads have nothing to share in networks so small, and would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(spec: str | ModelSpec, precision: str = "fp32") -> Family:
    family = build(SPECS[spec] if isinstance(spec, str) else spec, (1, 32, 32), precision)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def by(score: str, **options: Any) -> Criterion:
    """The criterion of a finder, in one step unless it is said otherwise."""
    steps = options.pop("iterations", 1)
    return SCORES[score](**options, **({} if score == "magnitude" else {"iterations": steps})).criterion


def chosen(family: Family, criterion: Criterion, density: float, within: Mask | None = None, seed: int = 0) -> Mask:
    found = choose(family, criterion, density, within, NONE if criterion.images is None else IMAGES, seed)
    assert found.kept == found.mask
    assert found.scored_by == criterion.score
    return found.mask


def apply(mask: Mask, family: Family) -> None:
    for name, weight in family.prunable().items():
        weight.detach().mul_(mask[name])


def agree(mask: Mask, scores: dict[str, Tensor], density: float) -> bool:
    """Whether a mask is the best by scores computed elsewhere, but for one in 500 that rounding may exchange."""
    return mask.hamming(keep_top(scores, density)) <= 0.002


# Single weights


@every_score
@every_model
def test_counts_are_exact_in_whatever_is_ranked_together(model: str, score: str) -> None:
    family = made(model)
    sizes = {name: weight.numel() for name, weight in family.prunable().items()}
    for ranking, density in itertools.product(RANKINGS, (0.013, 0.5, 0.8)):
        mask = chosen(family, by(score, scope=Scope(ranking=ranking)), density)
        parts = {"global": lambda name: 0, "per_component": lambda name: name.split(".")[0], "layerwise": str}[ranking]
        for part in set(map(parts, sizes)):
            names = [name for name in sizes if parts(name) == part]
            assert sum(mask.counts[name] for name in names) == round(sum(sizes[name] for name in names) * density)


@every_score
def test_only_the_components_in_scope_are_pruned(score: str) -> None:
    family = made("dcgan")
    for component in family.networks:
        own = [name for name in family.prunable() if name.split(".")[0] == component]
        mask = chosen(family, by(score, scope=Scope(components=(component,))), 0.3)
        assert list(mask) == own
        assert mask.kept == round(0.3 * sum(family.prunable()[name].numel() for name in own))
    assert chosen(family, by(score, scope=Scope(components=tuple(family.networks))), 0.3) == chosen(
        family, by(score), 0.3
    )


@every_score
def test_exempt_layers_are_neither_pruned_nor_counted(score: str) -> None:
    family = made("dcgan")
    exempt = ("decode.up1", "encode.down1.conv.weight")
    mask = chosen(family, by(score, scope=Scope(exempt=exempt)), 0.3)
    assert set(family.prunable()) - set(mask) == {"generator.up1.conv.weight", "discriminator.down1.conv.weight"}
    assert mask.kept == round(0.3 * mask.size)


def test_a_role_is_exempt_by_whole_names_only() -> None:
    names = [f"up{n}" for n in (10, 1)]
    networks = {
        "encoder": nn.Sequential(OrderedDict((name, nn.Linear(2, 2)) for name in names)),
        "decoder": nn.Sequential(OrderedDict((name, nn.Linear(2, 2)) for name in names)),
    }
    family = Autoencoder(networks, 2, "fp32")
    left = list(in_scope(family, Scope(exempt=("decode.up1",))))
    assert left == ["encoder.up10.weight", "encoder.up1.weight", "decoder.up10.weight"]
    with pytest.raises(CriterionError, match=r"no role 'decode\.up'; there are encode\.up10\.weight, "):
        in_scope(family, Scope(exempt=("decode.up",)))


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (
            Scope(exempt=("decode.up1", "decode.nope")),
            r"scope\.exempt: there is no role 'decode\.nope'; there are encode",
        ),
        (Scope(exempt=("encode", "decode")), "scope: it leaves nothing to prune"),
        (Scope(components=("generator",), exempt=("decode",)), "scope: it leaves nothing to prune"),
    ],
)
def test_a_scope_that_cannot_be_is_refused(scope: Scope, message: str) -> None:
    for criterion in (by("magnitude", scope=scope), EarlyBird(scope=scope).criterion):
        with pytest.raises(CriterionError, match=message):
            choose(made("dcgan"), criterion, 0.5, None, NONE, 0)


@every_score
@every_model
def test_choosing_leaves_nothing_changed(model: str, score: str) -> None:
    family = made(model, "bf16")
    family.networks.eval()
    next(iter(family.networks.values())).train()
    for parameter in family.networks.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: tensor.clone() for name, tensor in family.networks.state_dict().items()}
    modes = [module.training for module in family.networks.modules()]
    state, images = torch.get_rng_state(), IMAGES.clone()
    chosen(family, by(score, iterations=2), 0.3)
    assert all(tensor.equal(before[name]) for name, tensor in family.networks.state_dict().items())
    assert all(p.grad is not None and p.grad.eq(1).all() and p.requires_grad for p in family.networks.parameters())
    assert [module.training for module in family.networks.modules()] == modes
    assert not any(module._forward_hooks for module in family.networks.modules())
    assert torch.get_rng_state().equal(state)
    assert family.precision == "bf16"
    assert images.equal(IMAGES)


@every_score
@every_model
def test_a_choice_depends_on_its_seed_only_where_latents_are_drawn(model: str, score: str) -> None:
    family = made(model)
    first, again, other = (chosen(family, by(score), 0.3, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first != other) == (score in ("snip", "grasp") and model != "linear_autoencoder")


@every_score
def test_networks_in_bf16_are_scored_in_fp32(score: str) -> None:
    assert chosen(made("dcgan", "bf16"), by(score), 0.3) == chosen(made("dcgan"), by(score), 0.3)


def gan_losses(family: Family, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Of a GAN in float64: the discriminator's loss and the generator's (Goodfellow et al. 2014), and their sum.

    Only in the sum do fakes have gradients of the discriminator's loss.
    """
    generates, discriminates = (family.networks[name].double().train() for name in ("generator", "discriminator"))
    images = IMAGES.double() / 127.5 - 1
    fakes = generates(torch.randn(len(images), 3, generator=generator(7, "score")).double())

    def judged(real: Tensor, fake: Tensor) -> Tensor:
        real, fake = discriminates(real) / temperature, discriminates(fake) / temperature
        return softplus(-real).mean() + softplus(fake).mean()

    fooled = softplus(-discriminates(fakes) / temperature).mean()
    return judged(images, fakes.detach()), fooled, judged(images, fakes) + fooled


def gradient_flow(family: Family, loss: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The product w H g, with the Hessian and gradient of a loss in some weights."""
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    half_norm = torch.stack([slope.square().sum() for slope in slopes]).sum() / 2
    products = torch.autograd.grad(half_norm, list(weights.values()))
    return {name: w.detach() * product for (name, w), product in zip(weights.items(), products, strict=True)}


def felt(family: Family, loss: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """|w dL/dw|."""
    slopes = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
    return {name: (w.detach() * slope).abs() for (name, w), slope in zip(weights.items(), slopes, strict=True)}


FORMULAS = {"snip": felt, "grasp": gradient_flow}


def expected(score: str, loss: str, temperature: float = 1.0) -> dict[str, Tensor]:
    """The scores of the toy GAN, by autograd."""
    family = made("dcgan")
    family.networks.double()
    weights = family.prunable()
    if loss == "joint":
        return FORMULAS[score](family, gan_losses(family, temperature)[2], weights)
    scores: dict[str, Tensor] = {}
    for n, component in enumerate(("discriminator", "generator")):
        own = {name: weight for name, weight in weights.items() if name.startswith(component)}
        scores |= FORMULAS[score](family, gan_losses(family, temperature)[n], own)
    return scores


@pytest.mark.parametrize("density", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("loss", ["own", "joint"])
def test_snip_of_a_gan_is_by_the_losses_of_its_components_or_by_their_sum(loss: str, density: float) -> None:
    mask = chosen(made("dcgan"), by("snip", loss=loss), density, seed=7)
    assert agree(mask, expected("snip", loss), density)
    other = expected("snip", "joint" if loss == "own" else "own")
    assert mask.hamming(keep_top(other, density)) > 0.01


@pytest.mark.parametrize("density", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
@pytest.mark.parametrize("loss", ["own", "joint"])
def test_grasp_of_a_gan_divides_logits_by_the_temperature(loss: str, temperature: float, density: float) -> None:
    mask = chosen(made("dcgan"), by("grasp", loss=loss, temperature=temperature), density, seed=7)
    assert agree(mask, expected("grasp", loss, temperature), density)
    other = expected("grasp", loss, 201 - temperature)
    assert mask.hamming(keep_top(other, density)) > 0.01


@pytest.mark.parametrize("model", ["linear_autoencoder", "vae"])
def test_temperature_and_sum_of_losses_change_nothing_where_there_is_neither_logit_nor_second_loss(model: str) -> None:
    family = made(model)
    for score, options in {"grasp": {"temperature": 1.0}, "snip": {"loss": "joint"}}.items():
        assert chosen(family, by(score, **options), 0.3) == chosen(family, by(score), 0.3)


def test_snip_of_an_autoencoder_is_by_its_error() -> None:
    family = made("linear_autoencoder")
    encodes, decodes = (family.networks[name].double() for name in ("encoder", "decoder"))
    images = IMAGES.double() / 127.5 - 1
    scores = felt(family, (decodes(encodes(images)) - images).square().mean(), family.prunable())
    assert agree(chosen(made("linear_autoencoder"), by("snip"), 0.3), scores, 0.3)


def test_synflow_ranks_components_by_their_shares_of_a_flow_of_one() -> None:
    family = made("linear_autoencoder")
    weights = {name: weight.detach().double().abs() for name, weight in family.prunable().items()}
    scores: dict[str, Tensor] = {}
    for one, two in zip(list(weights)[::2], list(weights)[1::2], strict=True):
        first, second = weights[one], weights[two]
        flow = (second @ first).sum()
        scores |= {one: first * second.sum(0)[:, None] / flow, two: second * first.sum(1) / flow}
    assert agree(chosen(family, by("synflow"), 0.1), scores, 0.1)


@pytest.mark.parametrize("score", ["snip", "grasp", "synflow"])
def test_steps_follow_a_geometric_schedule_and_each_scores_what_the_last_one_left(score: str) -> None:
    options = {"temperature": 2.0} if score == "grasp" else {}
    family, within, size = made("dcgan"), None, sum(w.numel() for w in made("dcgan").prunable().values())
    for step in (1, 2, 3):
        stepped = chosen(family, by(score, **options), 0.2 ** (step / 3), within)
        assert stepped.kept == round(size * 0.2 ** (step / 3))
        assert within is None or stepped & within == stepped
        apply(within := stepped, family)
    at_once = chosen(made("dcgan"), by(score, iterations=3, **options), 0.2)
    assert at_once == within
    assert at_once != chosen(made("dcgan"), by(score, **options), 0.2)


@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_norms_see_the_batch_in_whatever_mode_the_network_is(score: str) -> None:
    family = made("dcgan")
    family.networks.eval()
    assert chosen(family, by(score), 0.3) == chosen(made("dcgan"), by(score), 0.3)


@every_score
@every_model
def test_what_was_pruned_stays_pruned(model: str, score: str) -> None:
    family = made(model)
    half = chosen(family, by("magnitude"), 0.5)
    apply(half, family)
    for density in (0.5, 0.4, 0.1):
        mask = chosen(family, by(score), density, half)
        assert mask & half == mask
        assert mask.kept == round(density * mask.size)


@pytest.mark.parametrize("score", ["magnitude", "snip", "synflow"])
def test_weights_that_are_zero_go_first(score: str) -> None:
    family = made("dcgan")
    half = chosen(family, by("magnitude", scope=Scope(ranking="layerwise")), 0.5)
    apply(half, family)
    mask = chosen(family, by(score), 0.3)
    assert mask & half == mask


@every_score
def test_the_worst_are_what_the_best_leave(score: str) -> None:
    family = made("dcgan")
    for ranking, density in itertools.product(RANKINGS, (0.25, 0.5)):
        best, worst = (
            chosen(family, by(score, scope=Scope(ranking=ranking)).model_copy(update={"keep": keep}), share)
            for keep, share in ((None, density), ("worst", 1 - density))
        )
        assert all(worst[name].equal(~best[name]) for name in best)


@pytest.mark.parametrize(("model", "sizes"), [("linear_autoencoder", [5, 5, 2]), ("vae", [12])])
def test_images_are_looked_at_in_chunks_unless_norms_see_the_batch(
    model: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, seen = made(model), []
    criterion, images = by("snip"), normalised(IMAGES)
    whole = scoring.scorers["snip"](Subject(family, family.prunable(), criterion, images, 0))
    family.networks["encoder"].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(scoring, "_CHUNK", 5)
    parts = scoring.scorers["snip"](Subject(family, family.prunable(), criterion, images, 0))
    assert seen == sizes
    for name, score in parts.items():
        torch.testing.assert_close(score, whole[name], rtol=1e-4, atol=1e-8)


def test_a_choice_is_decided_if_no_two_scores_at_its_edge_are_the_same() -> None:
    family = made("dcgan")
    weights = family.prunable()
    assert choose(family, by("magnitude"), 0.5, None, NONE, 0).decided
    for weight in weights.values():
        nn.init.ones_(weight)
    assert not choose(family, by("magnitude"), 0.5, None, NONE, 0).decided


# Channels

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


def channels(family: Family, density: float, **options: Any) -> Chosen:
    return choose(family, EarlyBird(**options).criterion, density, None, NONE, 0)


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
    found = choose(family, criterion, 0.5, None, NONE, 0)
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
    (kept,) = choose(unnormed(), worst, 0.4, None, NONE, 0).kept.values()
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
