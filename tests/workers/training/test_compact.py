"""Lines under channel masks: trained as the smaller network, seen as the whole one."""

import functools

import pytest
import torch
from torch import Tensor

from search_spaces.models import DCGAN, VAE, LinearAutoencoder, ModelSpec
from search_spaces.trial import Decay, Recipe
from workers.channels.kept import ChannelGroup, channel_groups, expand
from workers.lab.references import AS_THE_RECIPE, Steps
from workers.masks import Mask, keep_top
from workers.models import Family, build, initialise, materialise
from workers.models.state import MOMENTS, capture, restore, weights_only
from workers.pruning import random
from workers.training.compact import Trainee
from workers.training.loop import Epoch, optimizers_of, train

Tensors = dict[str, Tensor]

CPU = torch.device("cpu")
SPECS: dict[str, ModelSpec] = {
    "linear_autoencoder": LinearAutoencoder(width=8, latent=4),
    "vae": VAE(width=3, latent=3),
    "dcgan": DCGAN(width=4, latent=3),
}
IMAGES = torch.randint(256, (30, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))

# Weight decay gives the biases before norms, whose gradients are nothing but rounding errors, something to follow.
RECIPE = Recipe(batch=10, weight_decay=0.1, decay=Decay(epochs=4))

every_model = pytest.mark.parametrize("model", list(SPECS))


pytestmark = pytest.mark.usefixtures("one_thread")


def bare(model: str, precision: str = "fp32") -> Family:
    family = build(SPECS[model], (1, 32, 32), "bf16" if precision == "bf16" else "fp32")
    if precision == "fp64":
        family.networks.double()
    return family


@functools.cache
def start(model: str, epoch: int = 1) -> Tensors:
    """A state of the dense network, with moments after epoch 0."""
    family = bare(model)
    materialise(family, CPU)
    initialise(family, 0, "initial")
    optimizers = optimizers_of(family, RECIPE)
    list(train(family, optimizers, None, IMAGES, RECIPE, 0, 0, epoch))
    return capture(family, optimizers)


def halved(model: str) -> dict[ChannelGroup, Tensor]:
    noise = torch.Generator().manual_seed(7)
    return {
        g: torch.randperm(g.size, generator=noise) < (g.size + 1) // 2 for g in channel_groups(bare(model).networks)
    }


def channels(model: str) -> Mask:
    """A mask of half the channels of each layer."""
    return expand(halved(model), {group.name: kept for group, kept in halved(model).items()}, bare(model).prunable())


def trained(
    model: str,
    mask: Mask | None,
    end: int,
    begin: int = 1,
    state: Tensors | None = None,
    precision: str = "fp32",
    steps: Steps = AS_THE_RECIPE,
) -> tuple[Tensors, list[Epoch], Trainee]:
    """A state trained on by a trainee, what was logged, and the trainee."""
    state = start(model, begin) if state is None else state
    trainee = Trainee(bare(model, precision), mask, state, RECIPE, CPU)
    epochs = list(trainee.train(IMAGES, 0, begin, end, steps))
    return trainee.snapshot(), epochs, trainee


def densely(
    model: str,
    mask: Mask,
    end: int,
    state: Tensors | None = None,
    precision: str = "fp32",
    steps: Steps = AS_THE_RECIPE,
) -> tuple[Tensors, list[Epoch]]:
    """The same in the whole network, its masked weights being zero."""
    family = bare(model, precision)
    materialise(family, CPU)
    optimizers = optimizers_of(family, RECIPE)
    restore(start(model) if state is None else state, family, optimizers)
    epochs = list(train(family, optimizers, mask, IMAGES, RECIPE, 0, 1, end, steps))
    return capture(family, optimizers), epochs


def survivors(model: str, mask: Mask, state: Tensors) -> Tensors:
    """What of the weights and moments of a state is of channels that are kept."""
    kept = dict(mask) | {part.tensor: channels for group, channels in halved(model).items() for part in group.along}
    owners = {n: n.removeprefix(MOMENTS).rsplit(".", 1)[0] if n.startswith(MOMENTS) else n for n in state}
    return {n: t[kept[owners[n]]] if owners[n] in kept and t.dim() else t for n, t in state.items()}


@pytest.mark.parametrize("steps", [AS_THE_RECIPE, Steps(l1=0.01, lag=1)], ids=["plain", "departing"])
@every_model
def test_a_small_network_learns_what_the_masked_one_does(
    model: str, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In fp32 the gradient of a bias before a norm, which is nothing but rounding errors, differs beyond 1e-5.
    first = {name: tensor.double() if tensor.dim() else tensor for name, tensor in start(model).items()}
    monkeypatch.setattr(Family, "run", lambda family, name, inputs, **_: family.networks[name](inputs.double()))
    mask = channels(model)
    state, epochs, trainee = trained(model, mask, 3, state=first, precision="fp64", steps=steps)
    whole, logged = densely(model, mask, 3, first, "fp64", steps)
    parameters = sum(p.numel() for p in trainee.family.networks.parameters())
    assert parameters < 0.6 * sum(t.numel() for t in bare(model).networks.parameters())
    assert {name: tensor.shape for name, tensor in state.items()} == {name: t.shape for name, t in whole.items()}
    assert [epoch.number for epoch in epochs] == [2, 3]
    for epoch, expected in zip(epochs, logged, strict=True):
        # An L1 penalty on the scales of removed channels changes these alone: they are in no loss that is logged.
        assert epoch.means == pytest.approx(expected.means, rel=1e-5)
    expected_state = survivors(model, mask, whole)
    for name, tensor in survivors(model, mask, state).items():
        torch.testing.assert_close(
            tensor, expected_state[name], rtol=1e-5, atol=1e-5, msg=lambda t, n=name: f"{n}: {t}"
        )


@every_model
def test_what_is_masked_is_exactly_zero_and_what_belongs_to_removed_channels_stays(model: str) -> None:
    mask = channels(model)
    state, _, _ = trained(model, mask, 2)
    for name, kept in mask.items():
        assert not state[name][~kept].any()
        assert (state[name][kept] != start(model)[name][kept]).any()
    for group, kept in halved(model).items():
        for part in group.along:
            assert state[part.tensor][~kept].equal(start(model)[part.tensor][~kept])


@pytest.mark.parametrize("begin", [0, 1])
@every_model
def test_training_can_be_split_anywhere(model: str, begin: int) -> None:
    mask = channels(model)
    at_once, logged, _ = trained(model, mask, begin + 2, begin)
    half, first, _ = trained(model, mask, begin + 1, begin)
    split, second, _ = trained(model, mask, begin + 2, begin + 1, half)
    assert [epoch.means for epoch in first + second] == [epoch.means for epoch in logged]
    assert at_once.keys() == split.keys()
    assert [name for name in at_once if not at_once[name].equal(split[name])] == []
    assert set(weights_only(at_once)) == set(bare(model).networks.state_dict())


@every_model
def test_snapshots_taken_on_the_way_disturb_nothing(model: str) -> None:
    trainee = Trainee(bare(model), channels(model), start(model), RECIPE, CPU)
    seen = [(trainee.snapshot(), epoch)[0] for epoch in trainee.train(IMAGES, 0, 1, 3, AS_THE_RECIPE)]
    for end, snapshot in zip((2, 3), seen, strict=True):
        state, _, _ = trained(model, channels(model), end)
        assert [name for name in state if not state[name].equal(snapshot[name])] == []


@every_model
def test_without_a_whole_channel_masked_the_whole_network_is_trained(model: str) -> None:
    mask = keep_top(random(bare(model).prunable(), torch.Generator().manual_seed(0)), 0.9)
    state, _, trainee = trained(model, mask, 2)
    whole, _ = densely(model, mask, 2)
    assert str(trainee.family.networks) == str(bare(model).networks)
    assert [name for name in whole if not whole[name].equal(state[name])] == []


def test_a_mask_of_one_component_leaves_the_other_as_large_as_it_was() -> None:
    mask = Mask({name: kept for name, kept in channels("dcgan").items() if name.startswith("generator")})
    state, _, trainee = trained("dcgan", mask, 2)
    whole, _ = densely("dcgan", mask, 2)
    sizes = {n: sum(p.numel() for p in net.parameters()) for n, net in trainee.family.networks.items()}
    before = {n: sum(p.numel() for p in net.parameters()) for n, net in bare("dcgan").networks.items()}
    assert sizes["discriminator"] == before["discriminator"]
    assert sizes["generator"] < before["generator"] / 2
    for name in weights_only(state):
        if name.startswith("discriminator"):
            torch.testing.assert_close(state[name], whole[name], rtol=1e-5, atol=1e-5)


@every_model
def test_in_bf16_a_small_network_learns_nearly_that_and_its_weights_are_fp32(model: str) -> None:
    mask = channels(model)
    state, epochs, _ = trained(model, mask, 3, precision="bf16")
    again, _, _ = trained(model, mask, 3, precision="bf16")
    _, logged = densely(model, mask, 3, precision="bf16")
    plain, _, _ = trained(model, mask, 3)
    for epoch, expected in zip(epochs, logged, strict=True):
        assert epoch.means == pytest.approx(expected.means, rel=0.02)
    assert {tensor.dtype for name, tensor in state.items() if "num_batches" not in name} == {torch.float32}
    assert not any(state[name][~kept].any() for name, kept in mask.items())
    assert all(tensor.equal(again[name]) for name, tensor in state.items())
    assert any(not tensor.equal(plain[name]) for name, tensor in state.items())
