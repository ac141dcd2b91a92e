"""The workbench, against the loop, the scorers and the metrics put together by hand."""

import pytest
import torch

from search_spaces.criterion import Criterion
from search_spaces.trial import Trial
from tests.toys import toy_trial
from tests.workers.test_trial import wanted
from tests.workers.training.test_loop import assert_bit_equal
from workers import data, device
from workers.evaluation import evaluate
from workers.lab.references import DENSE
from workers.lab.stages import Prune
from workers.masks import keep_top
from workers.models import Family, build, initialise, materialise
from workers.models.state import capture, restore, weights_only
from workers.program import Outcome, run_program
from workers.pruning import magnitude, shuffle_layers
from workers.randomness import generator
from workers.store.backends import Store
from workers.training.loop import optimizers_of, train
from workers.workbench import Workbench

SEEDS = [{"init": 1, "order": 2}]


def performed(store: Store, trial: Trial) -> tuple[Workbench, Outcome]:
    lab = Workbench(trial, store, wanted([trial]), device.prepare(trial.resources))
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
    assert lab.context.mask(found.ticket.mask) == mask
    family, optimizers = fresh()
    restore(weights_only(rewind), family, optimizers)
    list(train(family, optimizers, mask, images, trial.recipe, 2, 1, 4))
    assert_bit_equal(lab.context.point(found.final).tensors, weights_only(capture(family, {})))
    held_out = torch.from_numpy(data.load(trial.dataset).held_out)
    fact = lab.context.archive.evaluation(found.evaluation)
    assert fact is not None
    assert fact["metrics"] == evaluate(family, held_out, trial.evaluation)[0]


def test_reinit_starts_from_other_weights(store: Store) -> None:
    lab, found = performed(store, toy_trial(methods=["reinit"], sparsities=[0.2]))
    fresh, first = (lab.context.point(state).tensors for state in (found.ticket.start, lab.initial()))
    assert not any(fresh[name].equal(first[name]) for name in first)


def test_a_shuffled_mask_is_drawn_by_the_seed_of_initialisation(store: Store) -> None:
    lab, found = performed(store, toy_trial(methods=["shuffle_layer"], sparsities=[0.2], seeds=SEEDS))
    (prune,) = (stage for stage in lab.stages.values() if isinstance(stage, Prune))
    expected = shuffle_layers(lab.context.mask(prune.key), generator(1, "shuffle_layer"))
    assert lab.context.mask(found.ticket.mask) == expected


def test_pruning_keeps_only_what_the_given_mask_keeps(store: Store) -> None:
    trial = toy_trial(sparsities=[0.2])
    lab = Workbench(trial, store, wanted([trial]), device.prepare(trial.resources))
    first = lab.initial()
    other = lab.initial(draw="other")
    larger = lab.context.mask(within := lab.prune(first, DENSE, by=Criterion(score="magnitude"), density=0.5))
    smaller = lab.context.mask(lab.prune(other, within, by=Criterion(score="magnitude"), density=0.4))
    assert smaller & larger == smaller
