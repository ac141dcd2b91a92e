from typing import Any

import pytest
import torch

from search_spaces.trial import Trial
from tests.toys import toy_trial
from tests.workers.test_laboratory import outcome, recorder
from tests.workers.test_training import assert_bit_equal, trained
from tests.workers.test_trial import plan_points
from workers import data
from workers.evaluation import evaluate
from workers.models import Family, build, initialise, materialise
from workers.program import Outcome, run_program
from workers.pruning import keep_top, magnitude, shuffle_layers
from workers.randomness import generator
from workers.snapshot import capture, restore, weights_only
from workers.stages import DENSE, Prune
from workers.store import Store
from workers.training import Diverged, optimizers_of, train
from workers.workbench import Workbench

SEEDS = [{"init": 1, "order": 2}]


def performed(store: Store, trial: Trial) -> tuple[Workbench, Outcome]:
    lab = Workbench(trial, store, plan_points([trial]), lambda report: None)
    return lab, run_program(lab, trial)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["vae", "dcgan"])
def test_a_trial_is_the_loop_from_its_rewind_state_under_its_mask(model: str, precision: str, store: Store) -> None:
    recipe = {"batch": 20, "precision": precision}
    trial = toy_trial(model, methods=["one_shot"], sparsities=[0.2], seeds=SEEDS, recipe=recipe)
    lab, found = performed(store, trial)
    images = torch.from_numpy(data.load(trial.dataset).train)

    def fresh() -> tuple[Family, dict[str, torch.optim.Optimizer]]:
        family = build(trial.model, (1, 32, 32), precision)
        materialise(family, torch.device("cpu"))
        return family, optimizers_of(family, trial.recipe)

    family, optimizers = fresh()
    initialise(family, 1, "initial")
    list(train(family, optimizers, None, images, trial.recipe, 2, 0, 1))
    rewind = capture(family, optimizers)
    list(train(family, optimizers, None, images, trial.recipe, 2, 1, 4))
    mask = keep_top(magnitude(family.prunable()), 0.8)
    assert lab.mask(found.ticket.mask) == mask
    family, optimizers = fresh()
    restore(rewind, family, optimizers)
    list(train(family, optimizers, mask, images, trial.recipe, 2, 1, 4))
    assert_bit_equal(lab.point(found.final).tensors, weights_only(capture(family, {})))
    held_out = torch.from_numpy(data.load(trial.dataset).held_out)
    fact = lab.archive.evaluation(found.evaluation)
    assert fact is not None
    assert fact["metrics"] == evaluate(family, held_out, trial.evaluation)[0]


def test_reinit_starts_from_other_weights(store: Store) -> None:
    lab, found = performed(store, toy_trial(methods=["reinit"], sparsities=[0.2]))
    fresh, first = (lab.point(state).tensors for state in (found.ticket.start, lab.initial()))
    assert not any(fresh[name].equal(first[name]) for name in first)


def test_a_shuffled_mask_is_drawn_by_the_seed_of_initialisation(store: Store) -> None:
    lab, found = performed(store, toy_trial(methods=["shuffle_layer"], sparsities=[0.2], seeds=SEEDS))
    (prune,) = (stage for stage in lab.stages.values() if isinstance(stage, Prune))
    expected = shuffle_layers(lab.mask(prune.key), generator(1, "shuffle_layer"))
    assert lab.mask(found.ticket.mask) == expected


def test_pruning_keeps_only_what_the_given_mask_keeps(store: Store) -> None:
    trial = toy_trial(sparsities=[0.2])
    lab = Workbench(trial, store, plan_points([trial]), lambda report: None)
    first = lab.initial()
    other = lab.initial(draw="other")
    larger = lab.mask(within := lab.prune(first, DENSE, score="magnitude", density=0.5))
    smaller = lab.mask(lab.prune(other, within, score="magnitude", density=0.4))
    assert smaller & larger == smaller


def test_each_round_of_imp_prunes_what_the_last_one_left_as_trained_under_it() -> None:
    lab = recorder(methods=[{"name": "imp", "rate": 0.5}], sparsities=[0.875])
    run_program(lab, lab.trial)
    rounds = [stage for stage in lab.stages.values() if isinstance(stage, Prune)]
    assert [stage.density for stage in rounds] == [0.5, 0.25, 0.125]
    assert [stage.within for stage in rounds] == [DENSE, rounds[0].key, rounds[1].key]
    assert all(stage.state.line.mask == stage.within and stage.state.epoch == 4 for stage in rounds)


@pytest.mark.parametrize("control", ["reinit", "shuffle_layer"])
def test_a_control_changes_the_ticket_of_the_finder_it_names(control: str) -> None:
    imp, one_shot = (outcome(methods=[{"name": control, "of": finder}]).ticket.mask for finder in ("imp", "one_shot"))
    assert imp != one_shot
    if control == "reinit":
        assert one_shot == outcome(methods=["one_shot"]).ticket.mask


def test_every_epoch_has_its_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    latents = Family.latents
    monkeypatch.setattr(Family, "latents", lambda *a: drawn.append(latents(*a)) or drawn[-1])
    trained("vae", 0, 2, batch=120)
    assert not drawn[0].equal(drawn[1])


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
