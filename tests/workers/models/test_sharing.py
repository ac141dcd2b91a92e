"""Parameters that several layers share, and those that are frozen: one tensor each, through all that a trial does."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from search_spaces.criterion import Criterion
from search_spaces.models import LinearAutoencoder
from search_spaces.trial import Recipe
from workers.channels.kept import channel_groups
from workers.costs.flops import step_flops
from workers.lab.references import AS_THE_RECIPE
from workers.masks import Mask, keep_top
from workers.models import Family, ModelError, build, builders, initialise, materialise
from workers.models.families import GAN, Autoencoder
from workers.models.state import capture, restore
from workers.pruning import magnitude, random
from workers.pruning.choose import choose
from workers.pruning.criteria import Subject, scorers
from workers.pruning.transfer import graft
from workers.training.compact import Trainee
from workers.training.loop import optimizers_of

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
IMAGE = (1, 8, 8)
FIRST, SECOND = "encoder.1.weight", "encoder.3.weight"


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    """Two layers that are one, share their kernel, or of which the second is frozen."""
    one, other = nn.Linear(64, 64), nn.Linear(64, 64)
    if kind == "twice":
        return one, one
    if kind == "tied":
        other.weight = one.weight
    if kind == "normed":
        other = weight_norm(other)
    if kind == "frozen":
        other.requires_grad_(False)
    return one, other


def autoencoder(kind: str) -> dict[str, nn.Module]:
    one, other = pair(kind)
    last = nn.Linear(4, 64)
    encoder = nn.Sequential(nn.Flatten(), one, nn.ReLU(), other, nn.Linear(64, 4))
    if kind == "bodies":
        last = nn.Linear(64, 64)
        last.weight = one.weight
        encoder = encoder[:4]
    return {"encoder": encoder, "decoder": nn.Sequential(last, nn.Tanh(), nn.Unflatten(1, IMAGE))}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Family]:
    def built(kind: str) -> Family:
        latent = 64 if kind == "bodies" else 4
        monkeypatch.setitem(
            builders,
            "linear_autoencoder",
            lambda spec, image, precision: Autoencoder(autoencoder(kind), latent, precision),
        )
        return build(LinearAutoencoder(), IMAGE)

    return built


Built = Callable[[str], Family]


def started(family: Family) -> Family:
    materialise(family, CPU)
    initialise(family, 0, "initial")
    return family


def second(kind: str) -> str:
    return "decoder.0.weight" if kind == "bodies" else SECOND


@pytest.mark.parametrize("kind", ["tied", "twice", "bodies"])
def test_a_shared_kernel_is_trained_masked_and_counted_once(kind: str, built: Built) -> None:
    family = started(built(kind))
    images = torch.randint(256, (20, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe, start = Recipe(batch=10), capture(family, {})
    other = second(kind)
    assert start[FIRST].equal(start[other])
    mask = keep_top(magnitude(family.prunable()), 0.5)
    assert FIRST in mask
    assert other not in mask
    parameters = family.parameters()
    assert len(parameters) == len({*parameters})
    assert sum(p.numel() for p in parameters) == sum(p.numel() for p in {*family.networks.parameters()})

    trainee = Trainee(built(kind), mask, start, recipe, CPU)
    list(trainee.train(images, 0, 0, 2, AS_THE_RECIPE))
    trained = trainee.snapshot()
    assert trained[FIRST].equal(trained[other])
    assert not trained[FIRST][~mask[FIRST]].any()
    assert not trained[FIRST].equal(start[FIRST])

    again = built(kind)
    materialise(again, CPU)
    optimizers = optimizers_of(again, recipe)
    restore(load(save(trained)), again, optimizers)
    held = dict(again.networks.named_parameters(remove_duplicate=False))
    assert held[FIRST] is held[other]
    assert {name: tensor.tolist() for name, tensor in capture(again, optimizers).items()} == {
        name: tensor.tolist() for name, tensor in trained.items()
    }
    whole, parts = Trainee(built(kind), mask, start, recipe, CPU), Trainee(built(kind), mask, start, recipe, CPU)
    list(whole.train(images, 0, 0, 2, AS_THE_RECIPE))
    list(parts.train(images, 0, 0, 1, AS_THE_RECIPE))
    rest = Trainee(built(kind), mask, parts.snapshot(), recipe, CPU)
    list(rest.train(images, 0, 1, 2, AS_THE_RECIPE))
    assert all(tensor.equal(rest.snapshot()[name]) for name, tensor in whole.snapshot().items()), "cut in two"


@pytest.mark.parametrize("kind", ["tied", "twice", "bodies"])
def test_a_masked_ticket_is_masked_under_every_name(kind: str, built: Built) -> None:
    family = built(kind)
    kept = torch.rand(family.prunable()[FIRST].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    masked = family.masked(Mask({FIRST: kept}))
    assert masked[second(kind)].equal(kept)


@pytest.mark.parametrize("kind", ["tied", "twice"])
def test_layers_that_share_are_not_made_smaller(kind: str, built: Built) -> None:
    assert not [group for group in channel_groups(built(kind).networks) if group.name.startswith("encoder")]


@pytest.mark.parametrize("kind", ["tied", "twice"])
def test_a_shared_kernel_takes_the_operations_of_all_its_layers(kind: str, built: Built) -> None:
    shared, apart = (step_flops(built(each), IMAGE, 5) for each in (kind, "apart"))
    assert shared[FIRST] == apart[FIRST] + apart[SECOND]
    assert sum(shared.values()) == sum(apart.values())


def test_a_graft_onto_shared_layers_leaves_them_equal(built: Built) -> None:
    giver, taker = started(built("apart")), started(built("tied"))
    source, onto = capture(giver, {}), capture(taker, {})
    grafted = graft(source, onto, giver, taker, ("encode", "decode"))
    assert grafted[FIRST].equal(source[FIRST])
    assert grafted[SECOND].equal(grafted[FIRST])


def test_a_frozen_layer_is_drawn_and_neither_trained_nor_pruned(built: Built) -> None:
    family = started(built("frozen"))
    images = torch.randint(256, (20, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    start = capture(family, {})
    assert SECOND not in family.prunable()
    assert family.not_prunable() == [SECOND]
    mask = keep_top(random(family.prunable(), torch.Generator().manual_seed(0)), 0.5)
    trainee = Trainee(built("frozen"), mask, start, Recipe(batch=10, weight_decay=0.1, optimizer="adamw"), CPU)
    list(trainee.train(images, 0, 0, 1, AS_THE_RECIPE))
    trained = trainee.snapshot()
    assert start[SECOND].any()
    assert trained[SECOND].equal(start[SECOND])
    assert trained["encoder.3.bias"].equal(start["encoder.3.bias"])
    assert not trained["encoder.4.weight"].equal(start["encoder.4.weight"])
    assert not [name for name in trained if name.startswith(f"moments.{SECOND}")]


@pytest.mark.parametrize("kind", ["tied", "twice", "frozen", "bodies", "normed"])
@pytest.mark.parametrize("score", ["magnitude", "snip", "grasp", "synflow"])
def test_every_score_ranks_what_is_prunable(kind: str, score: str, built: Built) -> None:
    family = started(built(kind))
    images = torch.randint(256, (8, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    criterion = Criterion(score=score, loss="own", temperature=200)
    mask = choose(family, criterion, 0.5, None, images, 0, 0).mask
    assert list(mask) == list(family.prunable())
    assert mask.kept == round(0.5 * mask.size)
    assert FIRST in mask


class Looked(nn.Module):
    """A linear layer whose kernel is first that of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(4, 64)
        self.fc = nn.Linear(64, 4)
        self.fc.weight = self.emb.weight

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.fc(images.flatten(1))
        return found


def test_synflow_adds_what_flows_through_all_layers_of_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def composed(spec: LinearAutoencoder, image: tuple[int, int, int], precision: str) -> Family:
        encoder, last = Looked(), nn.Linear(64, 4)
        last.weight = encoder.emb.weight
        decoder = nn.Sequential(nn.Linear(4, 64), last, nn.Linear(4, 64), nn.Unflatten(1, IMAGE))
        return Autoencoder({"encoder": encoder, "decoder": decoder}, 4, precision)

    monkeypatch.setitem(builders, "linear_autoencoder", composed)
    family = started(build(LinearAutoencoder(), IMAGE))
    subject = Subject(family, family.prunable(), Criterion(score="synflow"), torch.zeros(1, *IMAGE), 0)
    scores = scorers["synflow"](subject)
    assert list(scores) == ["encoder.emb.weight", "decoder.0.weight", "decoder.2.weight"]
    assert [float(score.sum()) for score in scores.values()] == pytest.approx([2, 1, 1])


class Rivals(GAN):
    """A discriminator and a generator that are made of the same layer."""

    phases: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}


@pytest.mark.parametrize("fault", ["rivals", "frozen"])
def test_what_no_optimizer_or_two_would_train_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def composed(spec: LinearAutoencoder, image: tuple[int, int, int], precision: str) -> Family:
        one, other = nn.Linear(4, 4), nn.Linear(4, 4)
        if fault == "rivals":
            other.weight = one.weight
        else:
            other.requires_grad_(False)
        return Rivals({"discriminator": one, "generator": other}, 4, precision)

    monkeypatch.setitem(builders, "linear_autoencoder", composed)
    message = {
        "rivals": r"discriminator\.weight is shared by what discriminator and generator train",
        "frozen": "generator: no parameter is left that could be trained",
    }[fault]
    with pytest.raises(ModelError, match=message):
        build(LinearAutoencoder(), IMAGE)
