"""The price of a plan, and planning without what only running needs: data, weights and a GPU."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.execution.executor import profiles_by_trial
from orchestrator.planning.plan import make_plan
from orchestrator.pricing.price import Price, gpu_hours, price
from tests.command import Tombola, write
from tests.toys import TOY_MODELS, toy_trials
from workers import data
from workers.data.sources import idx
from workers.measures import pretrained as weights
from workers.profiles.measuring import sizes_or_unknown
from workers.settling.distances import Choices
from workers.store.backends import Store

# A multiply-add is two FLOPs. Forward and the gradient of weights take all four layers, 1024-8-4-8-1024; the gradient
# of inputs all but the first, of whose inputs, the images, nobody asks for it.
FIRST, REST = 1024 * 8, 8 * 4 + 4 * 8 + 8 * 1024
STEP = 2 * 20 * (2 * FIRST + 3 * REST)
EPOCH = (120 // 20) * STEP


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty data folder, none of Debian's, and no weights."""
    for name in ("TOMBOLA_DATA", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(idx.fashion_mnist, "_elsewhere", ())
    data.card.cache_clear()


def facts(tombola: Tombola, *arguments: str) -> Any:
    ran = tombola("plan", *arguments, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def price_of(**changes: Any) -> Price:
    plan = make_plan(toy_trials(**changes))
    return price(plan, profiles_by_trial(plan.models, sizes_or_unknown))


def test_the_operations_of_a_plan_are_those_of_its_epochs() -> None:
    cost = price_of(methods=["imp"], sparsities={"rounds": 3})
    assert cost.shared == (4 + 3 * 3) * EPOCH
    assert cost.alone == ((4 + 3) + (4 + 3 * 2) + (4 + 3 * 3)) * EPOCH


def test_each_line_is_priced_as_the_model_that_it_trains() -> None:
    both = {"methods": ["dense"], "seeds": 2}
    narrow, wide = ({**TOY_MODELS["linear_autoencoder"], "width": width} for width in (8, 16))
    alone = [price_of(models=[model], **both).shared for model in (narrow, wide)]
    assert alone[0] == 2 * 4 * EPOCH
    assert price_of(models=[narrow, wide], **both).shared == sum(alone)


def test_where_data_decides_the_price_is_the_highest() -> None:
    early = {"name": "early_bird", "look_back": 2, "delta": 0.9, "fallback": "filter_norm"}
    searching, dense = (price_of(methods=[method], sparsities=[0.3], epochs=6).shared for method in (early, "dense"))
    assert dense == 6 * EPOCH
    assert searching == (5 + 4) * EPOCH


def test_hours_are_operations_by_throughput() -> None:
    assert gpu_hours(3600 * 2.4e12, 2.4) == pytest.approx(1)


def test_gpu_hours_fall_as_throughput_rises(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml")
    usual, fast = facts(tombola, sweep), facts(tombola, sweep, "--tflops", "24")
    assert usual["flops"] == fast["flops"] == (4 + 3 * 3) * EPOCH
    assert (usual["tflops"], fast["tflops"]) == (2.4, 24)
    for hours in ("gpu_hours", "gpu_hours_alone"):
        assert usual[hours] == pytest.approx(10 * fast[hours])
    assert f"at most {usual['flops']:.3g} FLOPs of training" in tombola("plan", sweep).out
    assert "GPU-hours at an assumed 24 TFLOP/s" in tombola("plan", sweep, "--tflops", "24").out


def test_a_throughput_is_positive(tombola: Tombola, tmp_path: Path) -> None:
    assert tombola("plan", write(tmp_path / "sweep.yaml"), "--tflops", "0").code == 2


def test_a_model_that_cannot_be_followed_is_left_out(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    with caplog.at_level(logging.WARNING):
        cost = price_of(models=[{"name": "faulty", "broken": str(broken)}])
    assert cost.shared == 0
    assert "faulty cannot be followed, so estimates leave it out: out of ink" in caplog.text


@pytest.mark.usefixtures("no_data")
def test_data_that_is_missing_is_planned_by_its_nominal_size_and_said(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", datasets=["digits", "cifar10", "mnist"], methods=["dense"])
    planned = facts(tombola, sweep)
    assert planned["data_missing"] == ["cifar10", "mnist"]
    assert planned["epochs_missing"] == planned["epochs"] == 3 * 4
    (told,) = [line for line in tombola("plan", sweep).out.splitlines() if "missing here" in line]
    assert "not known" in told
    assert "cifar10, mnist" in told
    for command in ("run", "resume"):
        refused = tombola(command, sweep)
        assert refused.code == 2
        assert "data set cifar10: its files are not in" in refused.err


@pytest.mark.usefixtures("no_data")
def test_a_plan_says_nothing_of_data_that_is_there(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml")
    assert facts(tombola, sweep)["data_missing"] == []
    assert "missing here" not in tombola("plan", sweep).out


ATTENTIVE = """
from typing import ClassVar, Literal

from torch import nn

from search_spaces.models import ModelSpec, models
from workers.models import builders, linear_autoencoder


@models.register
class Attentive(ModelSpec):
    family: ClassVar = "autoencoder"
    name: Literal["attentive"] = "attentive"
    width: int = 8
    latent: int = 4


def attentive(spec, image, precision):
    family = linear_autoencoder(spec, image, precision)
    family.networks["encoder"].add_module("attend", nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    return family


builders["attentive"] = attentive
"""


def test_a_plan_names_the_kernels_that_nothing_prunes(
    tombola: Tombola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "attentive_lab.py").write_text(ATTENTIVE)
    plain = write(tmp_path / "plain.yaml", methods=["dense"])
    assert facts(tombola, plain)["not_prunable"] == []
    assert "not prunable" not in tombola("plan", plain).out
    plugins = ["tests.toys", "attentive_lab"]
    sweep = write(tmp_path / "sweep.yaml", methods=["dense"], models=["attentive"], plugins=plugins)
    kernel = "attentive: encoder.attend.self_attn.in_proj_weight"
    assert facts(tombola, sweep)["not_prunable"] == [kernel]
    (told,) = [line for line in tombola("plan", sweep).out.splitlines() if "not prunable" in line]
    assert kernel in told


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    ("dataset", "features", "told"),
    [("cifar10", "inception", "inception has no weights here"), ("mnist", "fashion", "has nothing to learn from")],
)
def test_distances_are_planned_as_they_are_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, dataset: str, features: str, told: str
) -> None:
    monkeypatch.setattr(weights, "find", lambda features: None)
    evaluation = {"samples": 4000, "grid": 0, "distances": {"features": features}}
    trials = toy_trials(models=[TOY_MODELS["vae"]], datasets=[dataset], evaluation=evaluation)
    choices = Choices(store, planning=True)
    settled = choices.settle(trials)
    assert {trial.evaluation.distances.features for trial in settled} == {features}
    assert told in choices.told[0]
    assert make_plan(settled, data.card_or_nominal).epochs == 4 + 3 * 3


def test_without_a_gpu_a_plan_has_sizes_but_no_seconds(
    tombola: Tombola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = facts(tombola, write(tmp_path / "here.yaml"))
    elsewhere = write(tmp_path / "elsewhere.yaml", resources={"gpus": 0.5})
    planned = facts(tombola, elsewhere)
    assert planned["hours"] is planned["critical_path_hours"] is None
    assert planned["bytes_kept"] == here["bytes_kept"]
    assert planned["flops"] == here["flops"]
    assert "not measured: this machine has no GPU" in tombola("plan", elsewhere).out
    refused = tombola("run", elsewhere)
    assert refused.code == 2
    assert "resources.gpus is 0.5, but this machine has no GPU that torch can use" in refused.err


def test_few_hours_are_said_with_digits_that_say_something(tombola: Tombola, tmp_path: Path) -> None:
    said = tombola("plan", write(tmp_path / "sweep.yaml")).out
    assert "GPU-hours" in said
    assert " 0.00 " not in said
    assert f"of training, {gpu_hours((4 + 3 * 3) * EPOCH, 2.4):.3g} GPU-hours" in said
