import copy
import math
from collections.abc import Callable, Iterator
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from workers.masks import keep_top
from workers.models.backbones.residual import Residual
from workers.pruning import ScoreError, grasp, magnitude, random, snip, synflow
from workers.pruning.scores import Loss

STEP = 1e-5
DENSITIES = (0.0, 0.013, 0.2, 0.5, 0.77, 1.0)
Scorer = Callable[[Loss, dict[str, Tensor]], dict[str, Tensor]]


class Saved:
    """A tensor that a graph holds on to."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def network() -> nn.Sequential:
    """A convolution, a transposed one and a linear layer in float64, smooth in between, for images (1, 4, 4)."""
    torch.manual_seed(0)
    stages = (nn.Conv2d(1, 2, 3), nn.Tanh(), nn.ConvTranspose2d(2, 3, 2), nn.Softplus(), nn.Flatten())
    return nn.Sequential(*stages, nn.Linear(27, 2)).double()


def kernels(net: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in net.named_parameters() if name.endswith("weight")}


def batch(size: int, *shape: int) -> Tensor:
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def squared_error(net: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    return lambda: net(images).sub(0.3).square().mean()


def slopes(value: Callable[[], Tensor], tensor: Tensor) -> Tensor:
    """Central differences of `value` along every weight of `tensor`, in its shape."""
    found, weights = torch.empty_like(tensor, requires_grad=False), tensor.detach().view(-1)
    for i, before in enumerate(weights.tolist()):
        ends = []
        for step in (STEP, -STEP):
            weights[i] = before + step
            ends.append(value().item())
        weights[i] = before
        found.view(-1)[i] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def test_snip_is_weight_times_slope() -> None:
    net = network()
    loss = squared_error(net, batch(5, 1, 4, 4))
    scores = snip(loss, kernels(net))
    for name, weight in kernels(net).items():
        expected = (weight.detach() * slopes(loss, weight)).abs()
        torch.testing.assert_close(scores[name], expected, rtol=1e-6, atol=1e-9)


def test_grasp_is_weight_times_how_the_gradient_changes_along_itself() -> None:
    net = network()
    loss = squared_error(net, batch(5, 1, 4, 4))
    scores = grasp(loss, kernels(net))
    weights = list(kernels(net).values())
    start = [w.detach().clone() for w in weights]
    along = torch.autograd.grad(loss(), weights)

    def gradient_after(step: float) -> tuple[Tensor, ...]:
        for w, before, g in zip(weights, start, along, strict=True):
            w.data.copy_(before + step * g)
        return torch.autograd.grad(loss(), weights)

    changes = zip(gradient_after(STEP), gradient_after(-STEP), strict=True)
    for score, w, (high, low) in zip(scores.values(), start, changes, strict=True):
        torch.testing.assert_close(score, w * (high - low) / (2 * STEP), rtol=1e-5, atol=1e-9)


def test_grasp_of_a_quadratic_takes_the_hessian_of_the_given_parameters_alone() -> None:
    a, b = (batch(3)[i:].clone().requires_grad_() for i in (0, 1))
    m = batch(5, 5)
    scores = grasp(lambda: torch.cat([a, b]) @ m @ torch.cat([a, b]), {"a": a})
    symmetric = (m + m.t()).detach()
    g = (symmetric @ torch.cat([a, b]).detach())[:3]
    torch.testing.assert_close(scores["a"], a.detach() * (symmetric[:3, :3] @ g))


def test_removing_what_grasp_scores_low_raises_the_gradient_norm() -> None:
    w = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    scores = grasp(lambda: (w[0] - 3 * w[1]).square(), {"w": w})["w"]

    def norm(x: float, y: float) -> float:  # of the gradient 2 (x - 3y) (1, -3)
        return 40 * (x - 3 * y) ** 2

    assert scores[0] < 0 < scores[1]
    assert norm(0.99, 1) > norm(1, 1) > norm(1, 0.99)


@pytest.mark.parametrize("scorer", [snip, grasp])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1), (3, 3, 1), (6, 1)])
def test_parts_of_a_batch_give_what_the_whole_gives(scorer: Scorer, sizes: tuple[int, ...]) -> None:
    net, images = network(), batch(7, 1, 4, 4)

    def parts() -> Iterator[Tensor]:
        for chunk in images.split(sizes):
            yield len(chunk) / len(images) * squared_error(net, chunk)()

    whole = scorer(squared_error(net, images), kernels(net))
    for name, scores in scorer(parts, kernels(net)).items():
        torch.testing.assert_close(scores, whole[name], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scorer", [snip, grasp])
def test_a_part_is_gone_before_the_next_is_made(scorer: Scorer) -> None:
    w = torch.ones(3, requires_grad=True)
    saved, counts = WeakSet[Saved](), []

    def pack(tensor: Tensor) -> Saved:
        kept = Saved(tensor)
        saved.add(kept)
        return kept

    def parts() -> Iterator[Tensor]:
        for _ in range(3):
            counts.append(len(saved))
            yield w.exp().square().sum()

    with saved_tensors_hooks(pack, lambda kept: kept.tensor):
        scorer(parts, {"w": w})
    assert set(counts) == {0}


@pytest.mark.parametrize("scorer", [snip, grasp])
@pytest.mark.parametrize("of", ["another weight", "nothing", "no parts"])
def test_weights_that_the_loss_does_not_depend_on_score_zero(scorer: Scorer, of: str) -> None:
    used, unused = (torch.full((2,), 3.0, requires_grad=True) for _ in range(2))
    losses: dict[str, Loss] = {
        "another weight": lambda: used.pow(3).sum(),
        "nothing": lambda: torch.tensor(1.0),
        "no parts": list,
    }
    scores = scorer(losses[of], {"used": used, "unused": unused})
    assert scores["unused"].tolist() == [0, 0]
    assert bool(scores["used"].any()) == (of == "another weight")


def test_grasp_of_a_linear_loss_is_zero() -> None:
    w, v = (torch.full((2,), 3.0, requires_grad=True) for _ in range(2))
    assert grasp(lambda: 2 * w.sum(), {"w": w})["w"].tolist() == [0, 0]
    mixed = grasp(lambda: [2 * w.sum(), v.pow(2).sum()], {"w": w, "v": v})
    assert (mixed["w"].tolist(), mixed["v"].tolist()) == ([0, 0], [36, 36])  # v H g = 3 * 2 * 6


def facts(net: nn.Module) -> list[object]:
    """All that scoring could change, in a form that can be compared."""
    state = [(name, tensor.tolist()) for name, tensor in net.state_dict().items()]
    weights = [(p.is_leaf, p.requires_grad, p.grad.tolist()) for p in net.parameters() if p.grad is not None]
    modules = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in net.modules()]
    return [state, weights, modules, repr(net), torch.get_rng_state().tolist(), torch.is_grad_enabled()]


@pytest.mark.parametrize("scorer", ["snip", "grasp", "synflow"])
@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_all_as_it_was(scorer: str, training: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 1))
    net(torch.randn(3, 1, 4, 4)).sum().backward()
    net.train(training)
    images = batch(3, 1, 4, 4).float()

    def loss() -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
        return functional_call(net, buffers, (images,)).square().sum()

    with torch.no_grad():
        before = facts(net)
        scores = {
            "snip": lambda: snip(loss, kernels(net)),
            "grasp": lambda: grasp(loss, kernels(net)),
            "synflow": lambda: synflow(net, (1, 4, 4)),
        }[scorer]()
        assert facts(net) == before
    assert all(score.any() and not score.requires_grad for score in scores.values())


def test_synflow_of_linear_layers_is_a_product_of_matrices() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    first, second, third = (layer.weight.detach().double().abs() for layer in (net[0], net[2], net[4]))
    paths = torch.einsum("lk,kj,ji->lkji", third, second, first)  # of every path through the network, its product
    scores = synflow(net, (3,))
    for name, over in {"0.weight": (0, 1), "2.weight": (0, 3), "4.weight": (2, 3)}.items():
        torch.testing.assert_close(scores[name], paths.sum(over) / paths.sum(), rtol=1e-12, atol=0)


def test_synflow_of_convolutions_is_weight_times_slope_of_the_flow() -> None:
    net = network()
    layers = [layer for layer in net if not isinstance(layer, (nn.Tanh, nn.Softplus))]
    scores = synflow(net, (1, 4, 4))
    linear = nn.Sequential(*layers).requires_grad_(False)
    for name, p in linear.named_parameters():
        p.abs_() if name.endswith("weight") else p.zero_()

    def flow() -> Tensor:
        return linear(torch.ones(1, 1, 4, 4, dtype=torch.float64)).sum()

    for score, weight in zip(scores.values(), kernels(linear).values(), strict=True):
        expected = weight * slopes(flow, weight) / flow()
        torch.testing.assert_close(score, expected, rtol=1e-7, atol=1e-12)


def test_synflow_shares_one_unit_of_flow_in_every_layer() -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)),
        nn.ConvTranspose2d(6, 4, 4),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
        nn.Tanh(),
    )
    for net, inputs in ((network(), (1, 4, 4)), (decoder, (6,))):
        scores = synflow(net, inputs)
        assert list(scores) == [name for name, p in net.named_parameters() if p.dim() > 1]
        assert all(score.min() >= 0 for score in scores.values())
        assert [score.sum().item() for score in scores.values()] == pytest.approx([1] * len(scores), rel=1e-12)


def test_synflow_shares_one_unit_of_flow_among_the_ways_around_a_shortcut() -> None:
    body, shortcut = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 1)), nn.Conv2d(2, 4, 1)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), Residual(body, shortcut), nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 1))
    shares = {name: float(score.sum()) for name, score in synflow(net, (1, 4, 4)).items()}
    assert shares["0.weight"] == pytest.approx(1)
    assert shares["1.body.0.weight"] == pytest.approx(shares["1.body.2.weight"])
    assert shares["1.body.0.weight"] + shares["1.shortcut.weight"] == pytest.approx(1)


def test_synflow_scores_the_kernel_that_spectral_norm_divides() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 2))
    normed = nn.Sequential(*(spectral_norm(copy.deepcopy(m)) if isinstance(m, nn.Conv2d) else m for m in plain))
    scores = zip(synflow(plain, (1, 4, 4)).values(), synflow(normed, (1, 4, 4)).values(), strict=True)
    assert all(torch.allclose(left, right) for left, right in scores)


def test_synflow_sees_a_batch_norm_as_the_scale_of_its_channels() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    for tensor in (net[1].weight, net[1].bias, net[1].running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(net[1].running_var, 0.5, 2.0)
    scale = net[1].weight.detach().abs() / (net[1].running_var + net[1].eps).sqrt()
    first, second = (net[i].weight.detach().abs() for i in (0, 3))
    paths = torch.einsum("kj,j,ji->kji", second, scale, first)
    scores = synflow(net, (3,))
    torch.testing.assert_close(scores["0.weight"], paths.sum(0) / paths.sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(scores["3.weight"], paths.sum(2) / paths.sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [0.0, 1e-160, 1e160, math.inf, math.nan])
def test_synflow_refuses_a_flow_that_no_weight_has_a_share_of(size: float) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    for layer in (net[0], net[2]):
        nn.init.constant_(layer.weight, size)
    with pytest.raises(ScoreError, match=r"the flow through it is (0|inf|nan|[0-9.]+e-319), so no weight"):
        synflow(net, (3,))
    assert synflow(nn.Linear(1, 1), (1,))["weight"].item() == 1


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm([4, 2, 2]), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)]
)
def test_synflow_refuses_what_is_not_linear(norm: nn.Module) -> None:
    # kernels as wide as their strides: of ones they make a map that is the same everywhere, and a norm zeros of that
    net = nn.Sequential(nn.Conv2d(1, 4, 2, 2), norm, nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, 2))
    with pytest.raises(ScoreError, match="not linear"):
        synflow(net, (1, 4, 4))


@pytest.mark.parametrize("scorer", ["magnitude", "random", "snip", "grasp", "synflow", "ties"])
def test_every_scorer_keeps_an_exact_count(scorer: str) -> None:
    net = network()
    weights, loss = kernels(net), squared_error(net, batch(3, 1, 4, 4))
    scores = {
        "magnitude": lambda: magnitude(weights),
        "random": lambda: random(weights, torch.Generator().manual_seed(0)),
        "snip": lambda: snip(loss, weights),
        "grasp": lambda: grasp(loss, weights),
        "synflow": lambda: synflow(net, (1, 4, 4)),
        "ties": lambda: grasp(lambda: torch.tensor(0.0), weights),
    }[scorer]()
    assert {name: score.shape for name, score in scores.items()} == {name: w.shape for name, w in weights.items()}
    size = sum(w.numel() for w in weights.values())
    for density in DENSITIES:
        assert keep_top(scores, density).kept == round(size * density)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 1.0, -0.5]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


def test_synflow_refuses_weights_of_negative_flow() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Scaled(), nn.Linear(3, 2))
    for layer in (net[0], net[2]):
        nn.init.constant_(layer.weight, 1.0)
    with pytest.raises(ScoreError, match="some of its weights have a negative flow"):
        synflow(net, (3,))
