"""Choosing, against masks that are computed here by other means."""

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
from search_spaces.models import DCGAN, SNGAN, VAE, WGANGP, LinearAutoencoder, ModelSpec
from workers.masks import Mask, keep_top
from workers.masks.scope import CriterionError, in_scope
from workers.models import Family, build, initialise, materialise
from workers.models.families import GAN, Autoencoder, Loss
from workers.models.images import normalised
from workers.pruning import criteria as scoring
from workers.pruning.choose import choose
from workers.pruning.criteria import Subject
from workers.randomness import generator

SPECS: dict[str, ModelSpec] = {
    "linear_autoencoder": LinearAutoencoder(width=8, latent=4),
    "vae": VAE(width=2, latent=3),
    "dcgan": DCGAN(width=2, latent=3),
    "resnet_vae": VAE(width=2, latent=3, backbone="resnet"),
    "sngan": SNGAN(width=2, latent=3, ema=0.9),
    "wgan_gp": WGANGP(width=2, latent=3),
}
SCORES: dict[str, type[Finder]] = {"magnitude": Magnitude, "snip": SNIP, "grasp": GraSP, "synflow": SynFlow}
RANKINGS = ("global", "per_component", "layerwise")
IMAGES = torch.randint(256, (12, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
NONE = torch.empty(0, 1, 32, 32, dtype=torch.uint8)

every_model = pytest.mark.parametrize("model", list(SPECS))
every_score = pytest.mark.parametrize("score", list(SCORES))


pytestmark = pytest.mark.usefixtures("one_thread")


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
    found = choose(family, criterion, density, within, NONE if criterion.images is None else IMAGES, seed, ties=0)
    assert found.kept == found.mask
    assert found.scored_by == criterion.score
    return found.mask


def apply(mask: Mask, family: Family) -> None:
    for name, weight in family.prunable().items():
        weight.detach().mul_(mask[name])


def agree(mask: Mask, scores: dict[str, Tensor], density: float) -> bool:
    """Whether a mask is the best by scores computed elsewhere, but for one in 500 that rounding may exchange."""
    return mask.hamming(keep_top(scores, density)) <= 0.002


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
            choose(made("dcgan"), criterion, 0.5, None, NONE, 0, 0)


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
    assert all(p.grad is not None and p.grad.eq(1).all() for p in family.networks.parameters())
    assert all(p.requires_grad for p in family.parameters())
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

    Only in the sum do fakes have gradients of the discriminator's loss, and there each loss has fakes of its own.
    """
    generates, discriminates = (family.networks[name].double().train() for name in ("generator", "discriminator"))
    images, noise = IMAGES.double() / 127.5 - 1, generator(7, "score")
    fakes, others = (generates(torch.randn(len(images), 3, generator=noise).double()) for _ in range(2))

    def judged(real: Tensor, fake: Tensor) -> Tensor:
        real, fake = discriminates(real) / temperature, discriminates(fake) / temperature
        return softplus(-real).mean() + softplus(fake).mean()

    def fooled(fake: Tensor) -> Tensor:
        return softplus(-discriminates(fake) / temperature).mean()

    return judged(images, fakes.detach()), fooled(fakes), judged(images, fakes) + fooled(others)


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


def test_a_choice_says_what_of_it_was_drawn_among_equal_scores() -> None:
    family = made("dcgan")
    decided = choose(family, by("magnitude"), 0.5, None, NONE, 0, ties=1)
    assert (decided.decided, decided.tied_share) == (True, 0.0)
    assert choose(family, by("magnitude"), 0.5, None, NONE, 0, ties=2).mask == decided.mask
    weights = family.prunable()
    for weight in weights.values():
        nn.init.ones_(weight)
    first, again, other = (choose(family, by("magnitude"), 0.5, None, NONE, 0, ties=ties) for ties in (1, 1, 2))
    assert (first.decided, first.tied_share) == (False, 1.0)
    assert first.mask == again.mask != other.mask
    assert all(0 < first.mask.counts[name] < weight.numel() for name, weight in weights.items())
    # of one value each, the layer that is neither kept nor removed whole is drawn from
    values = dict(zip(weights, torch.randperm(len(weights), generator=generator(0, "values")) + 1.0, strict=True))
    for name, weight in weights.items():
        nn.init.constant_(weight, values[name].item())
    found = choose(family, by("magnitude"), 0.5, None, NONE, 0, ties=1)
    partly = [n for n, weight in weights.items() if 0 < found.mask.counts[n] < weight.numel()]
    assert len(partly) == 1
    assert found.tied_share == found.mask.counts[partly[0]] / found.mask.kept


def test_weights_of_dead_units_are_drawn_from_all_layers_alike() -> None:
    family = made("linear_autoencoder")
    with torch.no_grad():
        for name in ("encoder.down1", "decoder.from_code"):
            family.networks.get_parameter(f"{name}.linear.bias")[:4] = -1e3  # half of the units never fire
    found = choose(family, by("snip"), 0.75, None, IMAGES, 0, ties=1)
    scores = scoring.scorers["snip"](Subject(family, family.prunable(), by("snip"), normalised(IMAGES), 0))
    kept, dead = (
        {name: int((score.eq(0) & where[name]).sum()) for name, score in scores.items()}
        for where in (found.mask, Mask.dense(scores))
    )
    drawn = sum(kept.values())
    assert sum(dead.values()) > 0.4 * found.mask.size
    assert found.tied_share == drawn / found.mask.kept > 0.1
    for layer in ("encoder.down1.linear.weight", "decoder.up1.linear.weight"):
        assert kept[layer] / dead[layer] == pytest.approx(drawn / sum(dead.values()), abs=0.03)


class Silent(Autoencoder):
    """An autoencoder whose loss is `factor` times its error: that of nothing, or more than a float holds."""

    factor = 0.0

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.factor * super().reconstruct(images)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(0.0, "the scores of all of its weights are zero"), (1e30, "a score of its weights is not finite")],
)
@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_scores_that_rank_nothing_are_refused(score: str, factor: float, message: str) -> None:
    family = made("linear_autoencoder")
    family.__class__ = type("Silent", (Silent,), {"factor": factor})
    with pytest.raises(CriterionError, match=f"{score} cannot rank the encoder: {message}"):
        chosen(family, by(score), 0.5)


@pytest.mark.parametrize("component", ["encoder", "decoder"])
def test_synflow_names_the_component_that_nothing_flows_through(component: str) -> None:
    family = made("linear_autoencoder")
    nn.init.zeros_(next(iter(family.networks[component].parameters())))
    with pytest.raises(
        CriterionError, match=f"synflow cannot rank the {component}: the flow through it is 0, so no weight"
    ):
        chosen(family, by("synflow"), 0.5)
    (other,) = {"encoder", "decoder"} - {component}
    assert chosen(family, by("synflow", scope=Scope(components=(other,))), 0.5).kept


class Squares(GAN):
    """Losses of its own, and the joint loss of another GAN."""

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        yield from super().losses(images, noise)


def test_a_family_with_losses_of_its_own_needs_a_joint_loss_of_its_own() -> None:
    family = made("dcgan")
    family.__class__ = Squares
    assert chosen(family, by("snip", loss="own"), 0.5).kept
    with pytest.raises(CriterionError, match="Squares has losses of its own, so joint needs a joint_loss"):
        chosen(family, by("snip", loss="joint"), 0.5)
