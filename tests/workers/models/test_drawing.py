"""First weights: of every layer there is, from the seed alone, or the model is refused by the name of the tensor."""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations

from orchestrator import results
from search_spaces.criterion import Criterion
from search_spaces.models import LinearAutoencoder
from tests.toys import toy_trial
from workers.models import Family, ModelError, build, builders, initialise, materialise
from workers.models.families import Autoencoder
from workers.models.state import capture, restore
from workers.pruning.choose import choose
from workers.store.backends import open_store
from workers.trial import run_trial

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:enable_nested_tensor is True")

CPU = torch.device("cpu")
Make = Callable[[], nn.Module]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Make], Family]:
    """A model, on the meta device, in whose encoder stands one layer."""

    def built(make: Make) -> Family:
        def composed(spec: LinearAutoencoder, image: tuple[int, int, int], precision: str) -> Family:
            encoder = nn.Sequential(nn.Flatten(), nn.Linear(1024, 4), make())
            decoder = nn.Sequential(nn.Linear(4, 1024), nn.Unflatten(1, image))
            return Autoencoder({"encoder": encoder, "decoder": decoder}, 4, precision)

        monkeypatch.setitem(builders, "linear_autoencoder", composed)
        return build(LinearAutoencoder(), (1, 32, 32))

    return built


def first(family: Family, seed: int = 0) -> dict[str, Tensor]:
    """All tensors of a model at its start, those that are in no state too."""
    materialise(family, CPU)
    initialise(family, seed, "initial")
    return dict(family.networks.named_parameters()) | dict(family.networks.named_buffers())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# constructor arguments of every layer of torch.nn that needs any, where they are not those of a whole family of layers
ARGUMENTS: dict[str, tuple[object, ...]] = {
    **{f"{kind}{n}d": (2, 2, 3) for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"{kind}{n}d": (2,) for kind in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)},
    **{f"Lazy{kind}{n}d": (2, 3) for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"{kind}Pool{n}d": (2,) for kind in ("Avg", "Max", "AdaptiveAvg", "AdaptiveMax") for n in (1, 2, 3)},
    **{f"LPPool{n}d": (2, 2) for n in (1, 2, 3)},
    **{f"MaxUnpool{n}d": (2,) for n in (1, 2, 3)},
    **{f"{kind}Pad{n}d": (1,) for kind in ("Circular", "Reflection", "Replication", "Zero") for n in (1, 2, 3)},
    **{f"ConstantPad{n}d": (1, 0.5) for n in (1, 2, 3)},
    **{f"FractionalMaxPool{n}d": (2, 3) for n in (2, 3)},
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Linear"), (3, 2)),
    **dict.fromkeys(("LayerNorm", "RMSNorm", "LazyLinear", "SyncBatchNorm", "PixelShuffle", "PixelUnshuffle"), (2,)),
    **dict.fromkeys(("ChannelShuffle", "CrossMapLRN2d", "LocalResponseNorm", "Unfold"), (2,)),
    **dict.fromkeys(("Embedding", "EmbeddingBag"), (5, 2)),
    **dict.fromkeys(
        ("TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer", "MultiheadAttention"), (4, 2)
    ),
    "RNNBase": ("LSTM", 3, 2),
    "RNNCellBase": (3, 2, True, 4),
    "GroupNorm": (2, 4),
    "Bilinear": (2, 2, 2),
    "AdaptiveLogSoftmaxWithLoss": (16, 6, [2, 4]),
    "LinearCrossEntropyLoss": (4, 3),
    "TransformerEncoder": (nn.TransformerEncoderLayer(4, 2, 8), 2),
    "TransformerDecoder": (nn.TransformerDecoderLayer(4, 2, 8), 2),
    "Fold": (4, 2),
    "Threshold": (0.1, 0.0),
    "Unflatten": (1, (2, 2)),
    "ParameterList": ([torch.ones(2), torch.zeros(2, 2)],),
    "ParameterDict": ({"scale": nn.Parameter(torch.ones(2))},),
}
NO_LAYERS = {"Container", "DataParallel", "Module"}
EVERY_LAYER = sorted(name for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module))


@pytest.mark.parametrize("name", sorted({*EVERY_LAYER} - NO_LAYERS))
def test_every_layer_of_torch_starts_from_its_seed_or_is_refused(name: str, model: Callable[[Make], Family]) -> None:
    def make() -> nn.Module:
        made: nn.Module = getattr(nn, name)(*ARGUMENTS.get(name, ()))
        return made

    torch.manual_seed(1)
    if name.startswith("Lazy"):
        with pytest.raises(ModelError, match=r"encoder\.2\.\w+ has no shape"):
            model(make)
        return
    start = first(model(make))
    torch.manual_seed(2)
    assert equal(start, first(model(make))), "whatever the global generator and the memory hold"
    assert all(tensor.isfinite().all() for tensor in start.values())
    other, own = first(model(make), seed=1), [n for n in start if n.startswith("encoder.2")]
    if any(start[n].dim() > 1 for n in own) and "Parameter" not in name:
        assert any(not start[n].equal(other[n]) for n in own), "another seed draws another"


class Drawn(nn.Module):
    """A layer that draws what it holds in its constructor."""

    def __init__(self, draw: Callable[[], Tensor]) -> None:
        super().__init__()
        self.bare = nn.Parameter(draw())
        self.register_buffer("kept", draw())
        self.register_buffer("unkept", draw(), persistent=False)
        self.plain = draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.full((3,), 2.0),
        lambda: torch.randn(3),
        lambda: torch.from_numpy(np.random.randn(3)),
        lambda: torch.tensor([random.random() for _ in range(3)]),
        lambda: torch.tensor([value.item() for value in torch.linspace(0, 1, 3)]),
    ],
    ids=["constant", "torch", "numpy", "python", "item"],
)
def test_what_a_constructor_draws_is_of_the_seed_too(
    draw: Callable[[], Tensor], model: Callable[[Make], Family]
) -> None:
    def start(seed: int) -> dict[str, Tensor]:
        family = model(lambda: Drawn(draw))
        return first(family, seed) | {"plain": family.networks.get_submodule("encoder.2").plain}  # type: ignore[dict-item]

    found = start(0)
    random.seed(1)
    np.random.seed(1)
    assert equal(found, start(0))
    drawn = not draw().equal(draw())
    other = start(1)
    assert found["encoder.2.bare"].equal(other["encoder.2.bare"]) is not drawn
    assert found["encoder.2.unkept"].equal(other["encoder.2.unkept"]), "it is in no state, so it is the same in all"


def test_a_restored_model_has_its_buffers_that_are_in_no_state(model: Callable[[Make], Family]) -> None:
    start = first(family := model(lambda: Drawn(lambda: torch.randn(3))))
    restored = model(lambda: Drawn(lambda: torch.randn(3)))
    materialise(restored, CPU)
    restore(capture(family, {}), restored, {})
    assert equal(start, dict(restored.networks.named_parameters()) | dict(restored.networks.named_buffers()))


class Own(nn.Module):
    """A block that starts its layers in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.gain = nn.Parameter(torch.empty(4))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.inner.weight)
        nn.init.normal_(self.gain)


def test_a_block_may_start_its_layers_itself(model: Callable[[Make], Family]) -> None:
    start, other = first(model(Own)), first(model(Own), seed=1)
    assert not start["encoder.2.inner.weight"].any()
    assert start["encoder.2.inner.bias"].all(), "what it leaves is drawn as ever"
    assert not start["encoder.2.gain"].equal(other["encoder.2.gain"])


def test_drawing_depends_on_nothing_beside_the_layer(model: Callable[[Make], Family]) -> None:
    alone = first(model(lambda: nn.Sequential(nn.Embedding(3, 2))))["encoder.2.0.weight"]
    beside = first(model(lambda: nn.Sequential(nn.Embedding(3, 2), nn.LSTM(3, 2))))["encoder.2.0.weight"]
    assert alone.equal(beside)


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.Conv2d(1, 1, 3), nn.Embedding(3, 2)])
def test_a_frozen_layer_stays_as_constructed(layer: nn.Module, model: Callable[[Make], Family]) -> None:
    def make() -> nn.Module:
        made = copy.deepcopy(layer)
        for parameter in made.parameters():
            nn.init.constant_(parameter, 0.25)
        return made.requires_grad_(False)

    own = {name: t for name, t in first(model(make)).items() if name.startswith("encoder.2")}
    assert own
    assert all((tensor == 0.25).all() for tensor in own.values())


class Asking(nn.Module):
    def reset_parameters(self, std: float) -> None:
        pass


def test_a_reset_that_needs_arguments_is_refused_by_name(model: Callable[[Make], Family]) -> None:
    with pytest.raises(ModelError, match=r"encoder\.2: its reset_parameters .*'std'"):
        first(model(Asking))


class Empty(nn.Module):
    def __init__(self, *, buffer: bool = False, persistent: bool = True) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("left", torch.empty(3), persistent=persistent)
        else:
            self.left = nn.Parameter(torch.empty(3))


class Counting(nn.Module):
    def get_extra_state(self) -> int:
        return 3

    def set_extra_state(self, state: int) -> None:
        pass


class Views(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = nn.Parameter(self.one.weight.t())


class Infinite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("causal", torch.full((2, 2), -torch.inf))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frequencies = torch.empty(3)


class Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(4, 4)]


REFUSED: dict[str, tuple[Make, str]] = {
    "parameter": (Empty, r"encoder\.2\.left has no finite first value"),
    "buffer": (lambda: Empty(buffer=True), r"encoder\.2\.left has no finite first value"),
    "unkept": (lambda: Empty(buffer=True, persistent=False), r"encoder\.2\.left has no value"),
    "listed": (Listed, r"encoder\.2\.blocks holds layers or parameters where torch does not find them"),
    "plain": (Plain, r"encoder\.2\.frequencies has no value"),
    "meta": (
        lambda: nn.Linear(4, 4, device="meta"),
        r"encoder\.2\.weight has no value: it was constructed on",
    ),
    "infinite": (Infinite, r"encoder\.2\.causal has no finite first value"),
    "state": (Counting, r"encoder\.2\._extra_state is a part of the state that is no tensor"),
    "views": (Views, r"encoder\.2\.two\.weight is another view of the memory of encoder\.2\.one\.weight"),
    "double": (lambda: Drawn(lambda: torch.zeros(2, dtype=torch.complex128)), r"encoder\.2\.bare cannot be stored"),
    "weight_norm": (lambda: utils.weight_norm(nn.Linear(4, 4)), r"encoder\.2\.weight is computed by a hook"),
    "spectral_norm": (lambda: utils.spectral_norm(nn.Linear(4, 4)), r"encoder\.2\.weight is computed by a hook"),
    "prune": (
        lambda: utils.prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5),
        r"encoder\.2\.weight is computed by a hook",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_tensor_that_cannot_be_kept_is_refused_by_name(fault: str, model: Callable[[Make], Family]) -> None:
    make, message = REFUSED[fault]
    with pytest.raises(ModelError, match=message):
        first(model(make))


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.orthogonal])
@pytest.mark.parametrize("layer", [lambda: nn.Linear(4, 4), lambda: nn.Conv2d(4, 4, 3)])
def test_other_parametrisations_start_as_constructed_and_are_not_pruned(
    norm: Callable[[nn.Module], nn.Module], layer: Make, model: Callable[[Make], Family]
) -> None:
    family = model(lambda: norm(layer()))
    start = first(family)
    assert equal(start, first(model(lambda: norm(layer()))))
    assert not equal(start, first(model(lambda: norm(layer())), seed=1))
    assert list(family.prunable()) == ["encoder.1.weight", "decoder.0.weight"]
    assert all(name.startswith("encoder.2.parametrizations.weight.") for name in family.not_prunable())
    assert family.not_prunable()


@pytest.mark.parametrize("name", ["Conv1d", "Conv3d", "ConvTranspose1d", "ConvTranspose3d"])
def test_convolutions_of_other_ranks_are_pruned(name: str, model: Callable[[Make], Family]) -> None:
    family = model(lambda: getattr(nn, name)(2, 2, 3))
    assert "encoder.2.weight" in family.prunable()
    assert first(family)["encoder.2.weight"].abs().max() <= family.prunable()["encoder.2.weight"][0].numel() ** -0.5


def test_kernels_that_nothing_prunes_are_named(model: Callable[[Make], Family]) -> None:
    frozen = nn.Linear(4, 4).requires_grad_(False)
    family = model(lambda: nn.Sequential(nn.Embedding(2, 4), nn.MultiheadAttention(4, 2), nn.GroupNorm(2, 4), frozen))
    inside = [name.removeprefix("encoder.2.") for name in family.not_prunable()]
    assert inside == ["0.weight", "1.in_proj_weight", "3.weight"]
    assert "encoder.2.1.out_proj.weight" in family.prunable()


class Odd(nn.Module):
    """Layers of kinds that no model here has, some of them on tokens; constants; and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(4, 4, 1)
        self.attend = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)
        self.table = nn.Embedding(3, 4)
        self.norm = nn.Sequential(nn.GroupNorm(2, 4), nn.PReLU(4), nn.Dropout(0.2))
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)
        self.shift = torch.arange(4.0)

    def forward(self, codes: Tensor) -> Tensor:
        tokens = self.mix(codes[:, :, None]).mT + self.table.weight
        mixed: Tensor = self.norm(self.attend(tokens, tokens, tokens)[0].sum(1))
        return mixed * self.scale + self.shift


def test_a_trial_of_odd_layers_is_the_same_in_another_store(model: Callable[[Make], Family], tmp_path: Path) -> None:
    model(Odd)
    trial = toy_trial(evaluation={"grid": 0})
    rows = []
    for name in ("one", "other"):
        store = open_store(str(tmp_path / name))
        assert run_trial(trial, store) == "done"
        rows.append(results.trials(store.uri).iloc[0])
    assert math.isfinite(rows[0]["reconstruction_mse"])
    for column in ("reconstruction_mse", "prunable", "parameters", "mask_key", "final_key", "ticket_flops"):
        assert rows[0][column] == rows[1][column], column


@pytest.mark.parametrize("score", ["snip", "grasp"])
def test_scores_of_a_network_with_dropout_are_those_of_the_seed(score: str, model: Callable[[Make], Family]) -> None:
    first(family := model(nn.Dropout))
    images = torch.randint(256, (300, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    criterion = Criterion(score=score, loss="own", temperature=200)
    one, again, other = (choose(family, criterion, 0.5, None, images, seed, 0).mask for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_no_warning_is_left_behind(model: Callable[[Make], Family]) -> None:
    settings = (torch.are_deterministic_algorithms_enabled(), torch.get_rng_state())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first(model(Own))
    assert torch.are_deterministic_algorithms_enabled() is settings[0]
    assert torch.get_rng_state().equal(settings[1])
