"""The loop, on real digits: masks, repeatability, and states that can be taken up again."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.trial import Recipe
from tests.toys import EVERY_MODEL, toy_trial
from workers import data
from workers.archive.states import Archive, Point
from workers.endings import Diverged
from workers.lab.points import FULL
from workers.lab.references import AS_THE_RECIPE, Line, State, Steps
from workers.masks import Mask, keep_top
from workers.models import Family, build, initialise, materialise
from workers.models.state import MOMENTS, capture, restore, weights_only
from workers.pruning import magnitude
from workers.randomness import generator
from workers.store.backends import Store, open_store
from workers.training import loop as training
from workers.training.loop import Epoch, optimizers_of, scales_of, train

MODELS = list(EVERY_MODEL)
Tensors = dict[str, Tensor]


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(
    model: str,
    begin: int,
    end: int,
    state: Tensors | None = None,
    mask: Mask | None = None,
    steps: Steps = AS_THE_RECIPE,
    **recipe: Any,
) -> tuple[Tensors, list[Epoch]]:
    """A state trained on from `state`, or from the initialisation, and what was logged."""
    family, optimizers, images, chosen = begun(model, state, **recipe)
    epochs = list(train(family, optimizers, mask, images, chosen, 0, begin, end, steps))
    return capture(family, optimizers), epochs


def begun(
    model: str, state: Tensors | None = None, **recipe: Any
) -> tuple[Family, dict[str, torch.optim.Optimizer], Tensor, Recipe]:
    """What is trained, from `state` or from the initialisation."""
    trial = toy_trial(model, recipe={"batch": 20, **recipe})
    family = build(trial.model, (1, 32, 32), trial.recipe.precision)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    optimizers = optimizers_of(family, trial.recipe)
    if state is not None:
        restore(state, family, optimizers)
    return family, optimizers, torch.from_numpy(data.load(trial.dataset).train), trial.recipe


def prunable(model: str, state: Tensors) -> Tensors:
    family = build(toy_trial(model).model, (1, 32, 32))
    return {name: state[name] for name in family.prunable()}


def half(model: str, state: Tensors) -> Mask:
    return keep_top(magnitude(prunable(model, state)), 0.5)


def assert_bit_equal(left: Tensors, right: Tensors) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not left[name].equal(right[name])] == []


@pytest.mark.parametrize("model", MODELS)
def test_a_mask_of_ones_changes_no_bit(model: str) -> None:
    dense, _ = trained(model, 0, 2)
    masked, _ = trained(model, 0, 2, mask=Mask.dense(prunable(model, dense)))
    assert_bit_equal(dense, masked)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("model", MODELS)
def test_zeros_stay_exactly_zero_and_the_rest_moves(model: str, optimizer: str) -> None:
    start, _ = trained(model, 0, 1)
    mask = half(model, start)
    end, _ = trained(model, 1, 3, start, mask, optimizer=optimizer, weight_decay=0.1)
    for name, kept in mask.items():
        assert (end[name][~kept] == 0).all(), name
        assert (end[name][kept] != start[name][kept]).all(), name


@pytest.mark.parametrize("model", MODELS)
def test_a_tickets_first_state_is_the_masked_rewind_state(model: str) -> None:
    rewind, _ = trained(model, 0, 1)
    mask = half(model, rewind)
    first, _ = trained(model, 1, 1, rewind, mask)
    kept = build(toy_trial(model).model, (1, 32, 32)).masked(mask)
    assert_bit_equal({n: t * kept[n] if n in kept else t for n, t in rewind.items()}, first)
    assert any("running_mean" in name for name in first) or model.endswith("autoencoder")
    assert any(name.startswith("average.") for name in kept) == (model in ("sngan", "resnet_dcgan"))


def test_masked_weights_have_no_say_in_the_first_step() -> None:
    start, _ = trained("linear_autoencoder", 0, 1)
    mask = half("linear_autoencoder", start)
    disturbed = {n: torch.where(mask[n], t, 100.0) if n in mask else t for n, t in start.items()}
    kept = trained("linear_autoencoder", 1, 2, start, mask)[0]
    also = trained("linear_autoencoder", 1, 2, disturbed, mask)[0]
    assert_bit_equal(weights_only(kept), weights_only(also))


@pytest.mark.parametrize("model", MODELS)
def test_training_can_be_split_anywhere(model: str, store: Store) -> None:
    at_once, logged = trained(model, 0, 4)
    state, first = trained(model, 0, 1)
    archive = Archive(store)
    archive.commit_point(State(Line("x"), 1), FULL, Point(state, None))
    stored = archive.point(State(Line("x"), 1), moments=True)
    assert stored is not None
    continued, second = trained(model, 1, 4, stored.tensors)
    assert_bit_equal(at_once, continued)
    assert [e.means for e in first + second] == [e.means for e in logged]


CONTINUE = """
import sys
from tests.workers.training.test_loop import Archive, FULL, Line, Point, State, open_store, torch, trained
torch.set_num_threads(1)
archive = Archive(open_store(sys.argv[1]))
state = archive.point(State(Line("x"), 1), moments=True).tensors
archive.commit_point(State(Line("x"), 3), FULL, Point(trained("dcgan", 1, 3, state)[0], None))
"""


def test_training_can_go_on_in_another_process(tmp_path: Path) -> None:
    at_once, _ = trained("dcgan", 0, 3)
    archive = Archive(open_store(str(tmp_path)))
    archive.commit_point(State(Line("x"), 1), FULL, Point(trained("dcgan", 0, 1)[0], None))
    subprocess.run([sys.executable, "-c", CONTINUE, str(tmp_path)], check=True, cwd=Path(__file__).parents[3])
    continued = archive.point(State(Line("x"), 3), moments=True)
    assert continued is not None
    assert_bit_equal(at_once, continued.tensors)


def test_moments_are_restored_with_the_strides_of_their_weights() -> None:
    state, _ = trained("dcgan", 0, 1)
    trial = toy_trial("dcgan")
    family = build(trial.model, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    optimizers = optimizers_of(family, trial.recipe)
    restore(state, family, optimizers)
    for optimizer in optimizers.values():
        for parameter, moments in optimizer.state.items():
            assert moments["exp_avg"].stride() == parameter.stride()
            assert moments["exp_avg_sq"].stride() == parameter.stride()


def test_data_order_has_its_own_seed_and_changes_every_epoch() -> None:
    from workers.training.loop import _batches

    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(_batches(100, 10, seed, epoch, torch.device("cpu"))).tolist()

    assert sorted(order(0, 0)) == list(range(100))
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert len(_batches(105, 10, 0, 0, torch.device("cpu"))) == 10, "an incomplete batch is left out"


def test_every_draw_comes_from_its_seed_purpose_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = []

    def recorded(seed: int, purpose: str, epoch: int, *device: Any) -> torch.Generator:
        draws.append((seed, purpose, epoch))
        return generator(seed, purpose, epoch, *device)

    monkeypatch.setattr(training, "generator", recorded)
    trained("vae", 0, 3)
    assert sorted(draws) == sorted((0, purpose, epoch) for purpose in ("noise", "order") for epoch in range(3))


def test_training_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    trained("vae", 0, 1)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("model", "quantity"),
    [
        ("linear_autoencoder", "reconstruction_mse"),
        ("vae", "reconstruction"),
        ("resnet_vae", "reconstruction"),
        ("dcgan", "discriminator_loss"),
        ("sngan", "discriminator_loss"),
    ],
)
def test_training_improves_what_is_trained(model: str, quantity: str) -> None:
    _, epochs = trained(model, 0, 8)
    values = [epoch.means[quantity] for epoch in epochs]
    assert values[-1] < 0.9 * values[0]


def test_the_generator_is_updated_in_the_same_steps_wherever_training_was_cut() -> None:
    # six steps an epoch: of twelve the 4th, 8th and 12th are the generator's
    whole, epochs = trained("wgan", 0, 2)
    steps = {name: int(t) for name, t in whole.items() if name.endswith("conv.weight.step")}
    assert {name.split(".")[1]: n for name, n in steps.items()} == {"discriminator": 12, "generator": 3}
    assert all("generator_loss" in epoch.means for epoch in epochs)


@pytest.mark.parametrize("model", ["wgan", "wgan_gp", "sngan", "resnet_dcgan"])
def test_zeros_stay_zero_under_clipping_penalty_spectral_norm_and_averages(model: str) -> None:
    start, _ = trained(model, 0, 1)
    mask = half(model, start)
    final, _ = trained(model, 1, 4, start, mask)
    kept = build(toy_trial(model).model, (1, 32, 32)).masked(mask)
    assert all(not final[name][~where].any() for name, where in kept.items())
    assert all(final[name][where].any() for name, where in kept.items() if where.any())


def test_an_average_follows_its_generator_by_its_decay() -> None:
    state, _ = trained("sngan", 0, 1)
    role, expected = "up1.conv.bias", None
    for epoch in range(6):  # one batch of all images is a step
        values, _ = trained("sngan", 0, epoch, batch=120)
        latest = values[f"generator.{role}"]
        expected = latest if expected is None else 0.5 * expected + 0.5 * latest
        assert torch.allclose(values[f"average.{role}"], expected, atol=1e-7)
    assert state.keys() >= {f"average.{role}"}


def test_one_adam_step_follows_its_formula() -> None:
    # Kingma and Ba (2015), algorithm 1, on a plain float64 copy of the network, with one batch of all images
    before, _ = trained("linear_autoencoder", 0, 0)
    after, _ = trained("linear_autoencoder", 0, 1, batch=120)
    images = torch.from_numpy(data.load(toy_trial().dataset).train).double() / 127.5 - 1
    w = {name: tensor.double().requires_grad_() for name, tensor in before.items()}
    hidden = torch.relu(images.flatten(1) @ w["encoder.down1.linear.weight"].T + w["encoder.down1.linear.bias"])
    code = hidden @ w["encoder.to_code.linear.weight"].T + w["encoder.to_code.linear.bias"]
    hidden = torch.relu(code @ w["decoder.from_code.linear.weight"].T + w["decoder.from_code.linear.bias"])
    output = torch.tanh(hidden @ w["decoder.up1.linear.weight"].T + w["decoder.up1.linear.bias"])
    ((output - images.flatten(1)) ** 2).mean().backward()
    for name, weight in w.items():
        gradient = weight.grad
        assert gradient is not None
        expected = weight - 1e-3 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(after[name].double(), expected, atol=2e-5), name


@pytest.mark.parametrize("model", MODELS)
def test_a_loss_that_explodes_ends_as_diverged(model: str) -> None:
    with pytest.raises(Diverged, match="epoch"):
        trained(model, 0, 5, lr=1e30)


def test_a_gan_updates_each_network_by_its_own_rate() -> None:
    slow, _ = trained("dcgan", 0, 1, lr_discriminator=1e-12)
    start, _ = trained("dcgan", 0, 0)
    moved = {n.split(".")[0] for n, t in slow.items() if n.endswith("conv.weight") and not t.allclose(start[n])}
    assert moved == {"generator"}


def test_weights_only_drops_the_moments() -> None:
    state, _ = trained("vae", 0, 1)
    kept = weights_only(state)
    assert not any(name.startswith(MOMENTS) for name in kept)
    family: Family = build(toy_trial("vae").model, (1, 32, 32))
    assert set(kept) == set(family.networks.state_dict())


def test_what_is_logged_is_the_mean_over_the_steps() -> None:
    (_, (many,)), (_, (one,)) = (trained("linear_autoencoder", 0, 1, batch=n, lr=1e-12) for n in (20, 120))
    assert many.means["reconstruction_mse"] == pytest.approx(one.means["reconstruction_mse"], rel=1e-5)


def test_a_weight_or_buffer_that_is_not_finite_is_divergence() -> None:
    state, _ = trained("vae", 0, 1)
    state["encoder.down1.norm.running_mean"][0] = torch.inf  # no training step reads it
    with pytest.raises(Diverged, match="running_mean was not finite after epoch 2"):
        trained("vae", 1, 2, state)


def test_the_optimizer_is_the_recipes() -> None:
    recipe = {"optimizer": "adamw", "lr": 0.1, "betas": [0.5, 0.9], "weight_decay": 0.2}
    trial = toy_trial("dcgan", recipe=recipe)
    for optimizer in optimizers_of(build(trial.model, (1, 32, 32)), trial.recipe).values():
        assert type(optimizer) is torch.optim.AdamW
        chosen: dict[str, Any] = optimizer.param_groups[0]
        assert (chosen["lr"], chosen["betas"], chosen["weight_decay"]) == (0.1, (0.5, 0.9), 0.2)


DECAY = {"epochs": 4, "to": 0.1}


def rates(phase: str, begin: int, end: int, lag: int = 0, **recipe: Any) -> list[float]:
    """The learning rate of every epoch of a GAN, as its optimizer uses it."""
    family, optimizers, images, chosen = begun("dcgan", batch=60, lr=0.002, lr_discriminator=0.001, **recipe)
    used: list[float] = []
    optimizers[phase].register_step_pre_hook(lambda one, *_: used.append(one.param_groups[0]["lr"]))
    list(train(family, optimizers, None, images, chosen, 0, begin, end, Steps(lag=lag)))
    first, second = used[::2], used[1::2]
    assert first == second, "it changes between epochs alone"
    return first


@pytest.mark.parametrize(("phase", "lr"), [("discriminator", 0.001), ("generator", 0.002)])
def test_the_learning_rate_falls_along_half_a_cosine_and_stays_where_it_ends(phase: str, lr: float) -> None:
    found = rates(phase, 0, 7, decay=DECAY)
    # Loshchilov and Hutter (2017), equation 5
    formula = [0.1 * lr + 0.9 * lr * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)]
    assert found == pytest.approx([*formula, 0.1 * lr, 0.1 * lr], rel=1e-12)
    assert found[0] == lr
    assert found[2] == pytest.approx(0.55 * lr)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(other, T_max=4, eta_min=0.1 * lr)
    for epoch in range(5):
        assert found[epoch] == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        other.step()
        scheduler.step()


def test_without_decay_the_learning_rate_is_the_recipes() -> None:
    assert rates("generator", 0, 3) == [0.002] * 3
    assert rates("discriminator", 5, 7, lag=3) == [0.001] * 2


@pytest.mark.parametrize(("begin", "lag"), [(2, 0), (3, 2), (4, 4)])
def test_a_line_that_lags_has_the_learning_rates_of_that_many_epochs_before(begin: int, lag: int) -> None:
    whole = rates("generator", 0, 7, decay=DECAY)
    assert rates("generator", begin, 7, lag, decay=DECAY) == whole[begin - lag : 7 - lag]


@pytest.mark.parametrize("model", MODELS)
def test_training_with_decay_can_be_split_anywhere(model: str) -> None:
    at_once, _ = trained(model, 0, 4, decay=DECAY)
    for middle in (1, 2, 3):
        first, _ = trained(model, 0, middle, decay=DECAY)
        assert_bit_equal(trained(model, middle, 4, first, decay=DECAY)[0], at_once)
    assert not all(tensor.equal(at_once[name]) for name, tensor in trained(model, 0, 4)[0].items())


def after_one_descent(model: str, l1: float) -> tuple[Tensors, Tensors, dict[str, float]]:
    """A state, that after a step of plain gradient descent at rate 1 in each phase, and what was logged."""
    family, optimizers, images, recipe = begun(model, batch=120)
    scales = [tensor for name, tensor in family.networks.named_parameters() if name.endswith("norm.weight")]
    for scale in scales:
        with torch.no_grad():
            scale.copy_(torch.linspace(-1, 1, 2 * len(scale))[::2]).masked_fill_(torch.arange(len(scale)) == 1, 0)
    before = capture(family, {})
    descents = {phase: torch.optim.SGD(family.parameters_of(phase), lr=1.0) for phase in optimizers}
    (epoch,) = train(family, descents, None, images, recipe, 0, 0, 1, Steps(l1=l1))
    return before, capture(family, {}), dict(epoch.means)


@pytest.mark.parametrize("model", ["vae", "dcgan"])
def test_a_penalty_adds_the_signs_of_scales_to_their_gradients_and_nothing_to_others(model: str) -> None:
    before, plain, logged = after_one_descent(model, 0.0)
    _, penalised, also = after_one_descent(model, 0.125)
    # The generator's step comes after the discriminator's, whose weights have a say in its gradients.
    names = [name for name in before if not name.startswith("generator") and name.endswith(("weight", "bias"))]
    scales = [name for name in names if name.endswith("norm.weight")]
    assert {float(sign) for name in scales for sign in before[name].sign()} == {-1, 0, 1}
    for name in names:
        expected = plain[name] - 0.125 * before[name].sign() if name in scales else plain[name]
        torch.testing.assert_close(penalised[name], expected, rtol=1e-6, atol=1e-6 if name in scales else 0)
    first = {"vae": "reconstruction", "dcgan": "discriminator_loss"}[model]
    assert also[first] == logged[first], "what is logged is without it"


def test_each_phase_is_penalised_for_its_own_scales() -> None:
    from workers.training.loop import _scales

    family, *_ = begun("dcgan")
    for component, size in {"discriminator": 2 + 4 + 8, "generator": 8 + 4 + 2}.items():
        for name, scale in family.networks[component].named_parameters():
            if name.endswith("norm.weight"):
                torch.nn.init.constant_(scale, -0.5)
        assert _scales(family, component).item() == 0.5 * size


@pytest.mark.parametrize("model", MODELS)
def test_no_penalty_changes_no_bit(model: str) -> None:
    plain, _ = trained(model, 0, 2)
    assert_bit_equal(plain, trained(model, 0, 2, steps=Steps(l1=0.0, lag=0))[0])
    penalised, _ = trained(model, 0, 2, steps=Steps(l1=0.01))
    assert model.endswith("autoencoder") == all(tensor.equal(plain[name]) for name, tensor in penalised.items())


def test_a_penalty_makes_scales_smaller() -> None:
    plain, penalised = (trained("vae", 0, 8, steps=Steps(l1=weight))[0] for weight in (0.0, 100.0))
    scales = [name for name in plain if name.endswith("norm.weight") and not name.startswith("moments")]
    assert sum(penalised[n].abs().sum() for n in scales) < 0.97 * sum(plain[n].abs().sum() for n in scales)


@pytest.mark.parametrize("component", ["discriminator", "generator"])
def test_a_mask_of_one_component_leaves_the_other_dense(component: str) -> None:
    start, _ = trained("dcgan", 0, 1)
    mask = half("dcgan", start)
    one = Mask({name: kept for name, kept in mask.items() if name.startswith(component)})
    padded = Mask({name: kept if name in one else torch.ones_like(kept) for name, kept in mask.items()})
    end, _ = trained("dcgan", 1, 3, start, one)
    assert_bit_equal(end, trained("dcgan", 1, 3, start, padded)[0])
    for name, kept in mask.items():
        assert (end[name][~kept] == 0).all() == (name in one)


@pytest.mark.parametrize("model", MODELS)
def test_bf16_is_for_the_networks_and_not_for_what_is_kept(model: str) -> None:
    start, _ = trained(model, 0, 1)
    mask = half(model, start)
    state, epochs = trained(model, 1, 3, start, mask, precision="bf16")
    plain, expected = trained(model, 1, 3, start, mask)
    assert {n: t.dtype for n, t in state.items()} == {n: t.dtype for n, t in plain.items()}
    assert {t.dtype for n, t in state.items() if "num_batches" not in n} == {torch.float32}
    assert not all(tensor.equal(plain[name]) for name, tensor in state.items())
    assert all((state[name][~kept] == 0).all() for name, kept in mask.items())
    for found, epoch in zip(epochs, expected, strict=True):
        assert found.means == pytest.approx(epoch.means, rel=0.05)
        assert found.means != epoch.means


def test_norms_without_scales_have_none_to_penalise() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False))
    assert [scale.tolist() for scale in scales_of(network)] == [[1, 1]]
