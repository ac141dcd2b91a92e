import gzip
import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from orchestrator import results
from orchestrator.estimate import estimate
from orchestrator.plan import kept_bytes, make_plan, take_inventory
from search_spaces.datasets import Digits
from search_spaces.models import DCGAN, VAE
from search_spaces.trial import Evaluation
from tests.orchestrator.test_cli import Tombola, only_trial, sweep, tombola  # noqa: F401
from tests.orchestrator.test_plan import execute
from tests.search_spaces.test_sweep import trial
from tests.toys import toy_trial, toy_trials
from tests.workers.evaluation.test_evaluation import HELD_OUT
from tests.workers.models.test_models import made
from workers import names
from workers.archive import Archive
from workers.data import digits
from workers.evaluation import evaluate
from workers.evaluation.batches import SIZE, mean_over
from workers.presence import running
from workers.profiles import UNKNOWN
from workers.randomness import generator
from workers.snapshot import weights_only
from workers.stages import Line, State
from workers.store import Store, StoreError
from workers.training import normalised
from workers.trial import run_trial


def test_points_that_only_a_later_trial_needs_are_kept_by_the_first(store: Store) -> None:
    plan = make_plan(toy_trials(methods=[{"name": "imp", "rewind": 0}, {"name": "one_shot", "rewind": 2}]))
    assert len(execute(plan, store)) == plan.epochs


def test_an_end_without_moments_is_no_point_to_go_on_from(store: Store) -> None:
    execute(make_plan(toy_trials(methods=["dense"], epochs=4)), store)
    grown = make_plan(toy_trials(sparsities=[0.2], epochs=6, rewind=4))
    inventory = take_inventory(grown, store)
    assert inventory.missing == 6 + 2
    assert not any(key.endswith("@4") for key in inventory.held)
    assert len(execute(grown, store)) == 6 + 2


def test_states_are_counted_as_they_are_kept() -> None:
    plan = make_plan(toy_trials(sparsities=[0.2]))
    sizes = {planned.trial.id: (1000, 100, 0) for planned in plan.trials}
    assert kept_bytes(plan, sizes) == 100 + 1000 + 100 + 100  # initial, rewind in full, two ends


def test_hours_are_those_of_the_missing_epochs_and_of_the_longest_chain(store: Store) -> None:
    class Slow:
        def profiles(self, trials: Any, store: Store) -> Any:
            return {trial.id: replace(UNKNOWN, epoch_seconds=1800.0) for trial in trials}

    execute(make_plan(toy_trials(sparsities=[0.2])), store)
    figures = estimate(make_plan(toy_trials(sparsities=[0.2, 0.36], seeds=2)), store, Slow())  # type: ignore[arg-type]
    assert figures.epochs_missing == 3 + 10
    assert figures.hours == pytest.approx(13 / 2)
    assert figures.critical_path_hours == pytest.approx(10 / 2)


def test_a_later_override_wins() -> None:
    where = {"model": "vae"}
    overrides = [{"where": where, "set": {"epochs": 5}}, {"where": where, "set": {"epochs": 7}}]
    assert trial(overrides=overrides).epochs == 7


def test_an_old_sign_of_life_is_none(store: Store) -> None:
    store.put_if_absent(names.running("x"), json.dumps({"host": "h", "pid": 1, "time": 0.0}).encode())
    assert running(store) == {}


def test_held_out_digits_are_a_hundred_of_each_class() -> None:
    split = digits.load(Digits())
    with gzip.open(digits._file()) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    label = {row[:-1].tobytes(): int(row[-1]) for row in table}
    found = [label[np.ascontiguousarray(image[0, 2:-2, 2:-2]).tobytes()] for image in split.held_out]
    assert np.bincount(found).tolist() == [100] * 10


def test_the_fingerprint_is_that_of_split_and_transform_too(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {digits.card(Digits()).fingerprint}
    for name in ("_SPLIT", "_TRANSFORM"):
        with monkeypatch.context() as patch:
            patch.setattr(digits, name, "another")
            prints.add(digits.card(Digits()).fingerprint)
    assert len(prints) == 3


def test_models_that_share_a_role_start_it_alike() -> None:
    vae, gan = made(VAE(width=4)).networks, made(DCGAN(width=4)).networks
    for stage in ("up1", "up2", "up3"):
        name = f"{stage}.conv.weight"
        assert vae["decoder"].get_parameter(name).equal(gan["generator"].get_parameter(name))


def test_a_mean_is_over_all_batches() -> None:
    images = torch.arange(2.0 * SIZE + 1)
    assert mean_over(images, lambda batch: {"x": batch}) == {"x": pytest.approx(SIZE)}


def test_the_discriminators_metrics_are_those_of_its_loss_and_verdicts() -> None:
    family = made(DCGAN(width=4, latent=3))
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
    family = made(DCGAN(width=4, latent=3))
    head = family.networks["discriminator"].get_submodule("to_logit.conv")
    torch.nn.init.constant_(head.bias, bias)
    metrics, _ = evaluate(family, HELD_OUT, Evaluation(samples=50, grid=0))
    assert (metrics["real_accuracy"], metrics["fake_accuracy"]) == accuracies


def test_the_elbo_leaves_beta_out() -> None:
    metrics, _ = evaluate(made(VAE(width=4, latent=3, beta=4.0)), HELD_OUT, Evaluation(samples=50, grid=0))
    assert metrics["elbo"] == pytest.approx(-metrics["reconstruction"] - metrics["kl"], rel=1e-6)


def test_an_exported_ticket_is_the_start_state(tombola: Tombola, sweep: str) -> None:  # noqa: F811
    tombola("run", sweep)
    trial_id = only_trial(sweep, "imp", 0.36)
    tombola("export", trial_id, "ticket.safetensors")
    rows = results.trials("tombola-store").set_index("trial_id")
    line, _, epoch = rows.loc[trial_id, "start_key"].partition("@")
    from workers.store import open_store

    point = Archive(open_store("tombola-store")).point(State(Line(line), int(epoch)), moments=True)
    ticket = load_file("ticket.safetensors")
    start = weights_only(point.tensors)
    assert all(ticket[name].equal(start[name]) for name in start)


def test_a_write_that_fails_halfway_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            store.put_if_absent("a/b", b"x" * 1000)
    assert store.get("a/b") is None
    assert store.put_if_absent("a/b", b"y")


def test_a_row_counts_all_parameters_and_both_seeds(store: Store) -> None:
    run_trial(toy_trial(sparsities=[0.2], seeds=[{"init": 1, "order": 2}]), store)
    row = results.trials(store.uri).iloc[0]
    weights = 1024 * 8 + 8 * 4 + 4 * 8 + 8 * 1024
    assert (row["prunable"], row["parameters"]) == (weights, weights + 8 + 4 + 8 + 1024)
    assert (row["seed_init"], row["seed_order"]) == (1, 2)
