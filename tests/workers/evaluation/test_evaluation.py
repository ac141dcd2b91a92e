import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from search_spaces.models import DCGAN, VAE, ModelSpec
from search_spaces.trial import Distances, Evaluation
from tests.toys import EVERY_MODEL, toy_trial
from workers import data
from workers.endings import Diverged
from workers.evaluation import evaluate
from workers.evaluation.batches import SIZE, mean_over
from workers.evaluation.distances import distances
from workers.evaluation.feature_set import feature_set
from workers.evaluation.grid import as_bytes, png
from workers.evaluation.samples import Yardstick, samples
from workers.measures.metrics import METRICS
from workers.models import Family, build, initialise, materialise
from workers.models.images import normalised
from workers.randomness import generator
from workers.training.loop import optimizers_of, train

HELD_OUT = torch.from_numpy(data.load(toy_trial().dataset).held_out)
RESTORES, GENERATES = {"reconstruction_mse"}, {"reconstruction_mse", "reconstruction", "kl", "elbo", "active_units"}
TELLS, CRITICISES = {"discriminator_loss", "real_accuracy", "fake_accuracy"}, {"discriminator_loss"}
FAMILY_METRICS = {
    "linear_autoencoder": RESTORES,
    "conv_autoencoder": RESTORES,
    "vae": GENERATES,
    "resnet_vae": GENERATES,
    "dcgan": TELLS,
    "resnet_dcgan": TELLS,
    "sngan": TELLS,
    "wgan": CRITICISES,
    "wgan_gp": CRITICISES,
}


def fresh(spec: ModelSpec) -> Family:
    family = build(spec, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def made(model: str) -> Family:
    trial = toy_trial(model)
    family = fresh(trial.model)
    images = torch.from_numpy(data.load(trial.dataset).train)
    list(train(family, optimizers_of(family, trial.recipe), None, images, trial.recipe, 0, 0, 1))
    return family


def everything(family: Family) -> dict[str, Tensor]:
    gradients = {f"{n}.grad": p.grad for n, p in family.networks.named_parameters() if p.grad is not None}
    return {name: t.clone() for name, t in {**family.networks.state_dict(), **gradients}.items()}


class Noisy(nn.Module):
    """A generator whose layers draw by themselves, also in evaluation."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, latents: Tensor) -> Tensor:
        found: Tensor = self.inner(latents + torch.randn_like(latents) + np.random.randn())
        return found


def test_a_model_that_draws_by_itself_has_the_same_metrics_each_time() -> None:
    family = fresh(DCGAN(width=2, latent=3))
    family.networks["generator"] = Noisy(family.networks["generator"])
    state = torch.get_rng_state()
    one, again = (evaluate(family, HELD_OUT, Evaluation(samples=50, grid=2)) for _ in range(2))
    assert one == again
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_evaluation_leaves_no_trace(model: str) -> None:
    family = made(model)
    next(family.networks.children()).eval()  # a mixed state, to be left as it is
    before, rng = everything(family), torch.get_rng_state()
    modes = [m.training for m in family.networks.modules()]
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=2))
    assert metrics.keys() == FAMILY_METRICS[model]
    assert metrics.keys() <= set(METRICS)
    after = everything(family)
    assert all(before[name].equal(after[name]) for name in before)
    assert torch.get_rng_state().equal(rng)
    assert [m.training for m in family.networks.modules()] == modes


@pytest.mark.parametrize("model", ["vae", "dcgan"])
def test_evaluation_uses_running_statistics(model: str) -> None:
    family = made(model)
    before, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    for name, buffer in family.networks.named_buffers():
        if name.endswith("running_var"):
            buffer.mul_(4)
    after, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    assert before != after


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_evaluation_repeats_itself(model: str) -> None:
    family = made(model)
    assert evaluate(family, HELD_OUT, Evaluation()) == evaluate(family, HELD_OUT, Evaluation())


def test_reconstruction_error_is_the_mean_over_pixels() -> None:
    family = made("linear_autoencoder")
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=30, grid=0))
    images = normalised(HELD_OUT[:30])
    with torch.no_grad():
        restored = family.networks["decoder"](family.networks["encoder"](images))
    expected = np.mean((restored.numpy().astype(np.float64) - images.numpy()) ** 2)
    assert metrics["reconstruction_mse"] == pytest.approx(expected, rel=1e-5)


def test_the_elbo_is_made_of_its_terms() -> None:
    metrics, _ = evaluate(made("vae"), HELD_OUT, Evaluation(samples=50, grid=0))
    assert metrics["elbo"] == pytest.approx(-metrics["reconstruction"] - metrics["kl"], rel=1e-6)
    assert metrics["kl"] > 0


def test_a_blind_discriminator_scores_like_a_coin() -> None:
    family = made("dcgan")
    head = family.networks["discriminator"].get_submodule("to_logit.conv")
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    assert metrics["discriminator_loss"] == pytest.approx(2 * np.log(2), rel=1e-5)
    assert metrics["real_accuracy"] == metrics["fake_accuracy"] == 0  # a logit of 0 is no verdict


def test_a_metric_that_is_not_finite_is_divergence() -> None:
    family = made("linear_autoencoder")
    next(family.networks.parameters()).data.fill_(float("nan"))
    with pytest.raises(Diverged, match="reconstruction_mse is nan"):
        evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_grid_is_a_picture_of_rows_of_images(channels: int, mode: str) -> None:
    images = torch.full((3, channels, 4, 5), -1.0)
    images[1] = 1.0
    picture = Image.open(io.BytesIO(png(images, 2)))
    assert (picture.mode, picture.size) == (mode, (10, 8))
    pixels = np.asarray(picture)
    assert (pixels[:4, 5:] == 255).all()
    assert (pixels[:, :5] == 0).all()


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("linear_autoencoder", {"reconstructions": (96, 128)}),
        ("vae", {"samples": (96, 96), "reconstructions": (96, 128)}),
        ("dcgan", {"samples": (96, 96)}),
    ],
)
def test_there_are_pictures_of_samples_and_of_reconstructions(model: str, sizes: dict[str, tuple[int, int]]) -> None:
    _, pictures = evaluate(made(model), HELD_OUT, Evaluation(samples=50, grid=3))
    assert {kind: Image.open(io.BytesIO(png)).size for kind, png in pictures.items()} == sizes
    assert evaluate(made(model), HELD_OUT, Evaluation(samples=50, grid=0))[1] == {}


def test_reconstructions_stand_below_what_was_to_be_restored() -> None:
    _, pictures = evaluate(made("vae"), HELD_OUT, Evaluation(samples=50, grid=2))
    rows = np.asarray(Image.open(io.BytesIO(pictures["reconstructions"]))).reshape(2, 32, 2, 32)
    assert (rows[0].swapaxes(0, 1) == HELD_OUT[:2, 0].numpy()).all()
    assert (rows[1] != rows[0]).any()


def test_a_mean_is_over_all_batches() -> None:
    images = torch.arange(2.0 * SIZE + 1)
    assert mean_over(images, lambda batch: {"x": batch}) == {"x": pytest.approx(SIZE)}


def test_the_discriminators_metrics_are_those_of_its_loss_and_verdicts() -> None:
    family = fresh(DCGAN(width=4, latent=3))
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    family.networks.eval()
    images = normalised(HELD_OUT[:50])
    with torch.no_grad():
        fakes = family.generate(family.latents(50, generator(0, "evaluation")))
        loss = family.discriminator_loss(images, fakes).item()
        real, fake = family.discriminate(images), family.discriminate(fakes)
    assert metrics["discriminator_loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["real_accuracy"] == pytest.approx((real > 0).double().mean().item())
    assert metrics["fake_accuracy"] == pytest.approx((fake < 0).double().mean().item())
    assert {metrics["real_accuracy"], metrics["fake_accuracy"]} != {0.5}


@pytest.mark.parametrize(("bias", "accuracies"), [(50.0, (1, 0)), (-50.0, (0, 1))])
def test_a_discriminator_that_always_says_the_same(bias: float, accuracies: tuple[int, int]) -> None:
    family = fresh(DCGAN(width=4, latent=3))
    head = family.networks["discriminator"].get_submodule("to_logit.conv")
    torch.nn.init.constant_(head.bias, bias)
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    assert (metrics["real_accuracy"], metrics["fake_accuracy"]) == accuracies


def test_the_elbo_leaves_beta_out() -> None:
    metrics, _ = evaluate(fresh(VAE(width=4, latent=3, beta=4.0)), HELD_OUT, Evaluation(samples=50, grid=0))
    assert metrics["elbo"] == pytest.approx(-metrics["reconstruction"] - metrics["kl"], rel=1e-6)


def test_active_units_are_those_whose_posterior_mean_varies() -> None:
    family = fresh(VAE(width=4, latent=3))
    head = family.networks["encoder"].get_submodule("to_posterior")
    head.norm.reset_running_stats()
    with torch.no_grad():
        head.norm.weight[:3] = torch.tensor([1.0, 1e-4, 1.0])
        head.conv.weight[0].zero_()
        head.conv.weight[2].mul_(20)
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    family.networks.eval()
    with torch.no_grad():
        means = family.networks["encoder"](normalised(HELD_OUT[:50]))[:, :3].numpy().astype(np.float64)
    assert metrics["active_units"] == (means.var(0) > 0.01).sum() == 1


class Pixels:
    """A network that sees the brightness of rows."""

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 3))


@pytest.mark.parametrize("model", ["vae", "dcgan"])
def test_distances_are_between_samples_from_the_prior_and_real_images(model: str) -> None:
    family = made(model)
    yardstick = Yardstick(Pixels(), feature_set([HELD_OUT], Pixels()))
    before, rng = everything(family), torch.get_rng_state()
    evaluation = Evaluation(samples=50, grid=0, distances=Distances(samples=90))
    metrics, _ = evaluate(family, HELD_OUT, evaluation, yardstick)
    assert all(before[name].equal(tensor) for name, tensor in everything(family).items())
    assert torch.get_rng_state().equal(rng)
    family.networks.eval()
    with torch.no_grad():
        latents = torch.randn(90, 3, generator=generator(0, "samples:held_out"))
        made_images = family.networks["decoder" if model == "vae" else "generator"](latents)
    pixels = made_images.add(1).mul(127.5).round().clamp(0, 255).mean((1, 3))
    expected = distances(feature_set([pixels], lambda batch: batch), yardstick.real)
    assert metrics["frechet_distance"] == pytest.approx(expected["frechet_distance"], rel=1e-3)
    assert {"kernel_distance", "precision", "recall"} < metrics.keys()


@pytest.mark.parametrize("model", ["vae", "sngan"])
def test_networks_trained_in_bf16_are_measured_and_pictured_in_fp32(model: str) -> None:
    yardstick, seen = Yardstick(Pixels(), feature_set([HELD_OUT], Pixels())), []
    evaluation = Evaluation(samples=50, grid=2, distances=Distances(samples=40))
    for precision in ("fp32", "bf16"):
        family = build(toy_trial(model).model, (1, 32, 32), precision)
        materialise(family, torch.device("cpu"))
        initialise(family, 0, "initial")
        seen.append(evaluate(family, HELD_OUT, evaluation, yardstick))
        assert family.precision == precision
    assert "frechet_distance" in seen[0][0]
    assert seen[0] == seen[1]


def test_an_autoencoder_has_no_distances() -> None:
    yardstick = Yardstick(Pixels(), feature_set([HELD_OUT], Pixels()))
    metrics, _ = evaluate(made("linear_autoencoder"), HELD_OUT, Evaluation(samples=50, grid=0), yardstick)
    assert metrics.keys() == {"reconstruction_mse"}


def test_samples_are_those_of_latents_that_are_drawn_once_for_each_part() -> None:
    family = made("dcgan")
    family.networks.eval()

    def drawn(count: int, part: str = "held_out") -> Tensor:
        return torch.cat(list(samples(family, count, part, torch.device("cpu"))))

    with torch.no_grad():
        few, many = drawn(150), drawn(250)
        latents = torch.randn(100, 3, generator=generator(0, "samples:held_out"))
        assert few[:100].equal(as_bytes(family.generate(latents)))
        assert len(drawn(150, "selection").flatten(1).unique(dim=0)) == 150
    assert (len(few), len(many)) == (150, 250)
    assert len(few.flatten(1).unique(dim=0)) == 150
    assert not few[:100].equal(drawn(100, "selection"))
    assert few[:100].equal(many[:100])


def test_an_averaged_generator_is_measured_apart() -> None:
    yardstick = Yardstick(Pixels(), feature_set([HELD_OUT], Pixels()))
    family = fresh(DCGAN(width=4, latent=3, ema=0.9))
    same, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0), yardstick)
    distances = {name for name in same if name.startswith("ema_")}
    assert distances == {f"ema_{name}" for name in same if f"ema_{name}" in METRICS}
    assert all(same[name] == same[name.removeprefix("ema_")] for name in distances)
    with torch.no_grad():
        for parameter in family.networks["average"].parameters():
            parameter.mul_(3)
    other, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0), yardstick)
    assert {name for name in same if other[name] != same[name]} <= distances
    assert other["ema_frechet_distance"] != same["ema_frechet_distance"]
