import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.sweep import Sweep
from search_spaces.trial import StoredError, Trial, stored_trial

REPOSITORY = Path(__file__).parents[2]


def trials(**changes: Any) -> tuple[Trial, ...]:
    values = {
        "name": "test",
        "models": [{"name": "vae", "width": 8}],
        "datasets": ["digits"],
        "methods": ["imp"],
        "sparsities": [0.2],
        "seeds": 1,
        "epochs": 10,
        "rewind": 2,
    }
    return Sweep.model_validate(values | changes).trials()


def trial(**changes: Any) -> Trial:
    (only,) = trials(**changes)
    return only


def test_axes_are_multiplied() -> None:
    spanned = trials(models=["vae", "dcgan"], methods=["imp", "one_shot"], sparsities=[0.5, {"rounds": 2}], seeds=3)
    assert len(spanned) == 2 * 2 * 3 * 3
    assert sorted({t.sparsity for t in spanned}) == [0.2, 0.36, 0.5]


def test_the_dense_network_is_tried_once_whatever_the_sparsities() -> None:
    assert [t.sparsity for t in trials(methods=["dense"], sparsities={"rounds": 5})] == [0.0]


def test_trial_id_is_stable() -> None:
    # A literal: if this fails, stores of earlier versions no longer know their trials.
    assert trial().id == "94d6eb2ba535e931"


def test_trial_id_ignores_key_order_resources_evaluation_and_checkpoints() -> None:
    same = trial(
        models=[{"width": 8, "name": "vae"}],
        resources={"cpus": 4},
        evaluation={"samples": 10},
        checkpoint_every={"epochs": 1},
        name="other",
    )
    assert same.id == trial().id


@pytest.mark.parametrize(
    "change",
    [
        {"models": [{"name": "vae", "width": 8, "beta": 4}]},
        {"methods": [{"name": "imp", "rate": 0.5}]},
        {"sparsities": [0.36]},
        {"seeds": [1]},
        {"seeds": [{"init": 0, "order": 1}]},
        {"recipe": {"lr": 0.01}},
        {"epochs": 11},
        {"rewind": 3},
    ],
)
def test_trial_id_depends_on_everything_that_changes_the_result(change: dict[str, Any]) -> None:
    assert trial(**change).id != trial().id


def test_a_default_written_out_is_the_same_trial() -> None:
    written = trial(recipe={"batch": 100, "lr": 1e-3}, methods=[{"name": "imp", "rate": 0.2, "rewind": 2}])
    assert written.id == trial().id


def test_defaults_are_part_of_the_key() -> None:
    # So a changed default is another key, and never mistakes old results for its own.
    assert '"betas":[0.9,0.999]' in trial().spec_json
    assert '"rate":0.2' in trial().spec_json
    assert '"beta":1.0' in trial().spec_json


def test_initialisation_and_data_order_have_their_own_seeds() -> None:
    seeds = [t.seed for t in trials(seeds=[3, {"init": 1, "order": 2}])]
    assert [(s.init, s.order) for s in seeds] == [(3, 3), (1, 2)]


def test_a_trial_survives_its_json() -> None:
    original = trial(methods=[{"name": "reinit", "of": {"name": "imp", "rewind": 0}}])
    restored = Trial.model_validate_json(original.spec_json)
    assert restored == original
    assert hash(restored) == hash(original)
    assert restored.id == original.id


def test_a_trial_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        trial().epochs = 3


def test_a_methods_own_rewind_epoch_wins_over_the_sweeps() -> None:
    assert [t.rewind for t in trials(methods=["imp", {"name": "imp", "rewind": 0}])] == [2, 0]
    assert trial(methods=[{"name": "shuffle_layer", "of": "one_shot"}]).rewind == 2


def test_overrides_change_the_trials_that_match() -> None:
    spanned = trials(
        models=["vae", "dcgan"],
        overrides=[
            {"where": {"model": "dcgan"}, "set": {"recipe.lr": 2e-4, "recipe.betas": [0.5, 0.9], "epochs": 3}},
            {"where": {"model": ["dcgan"], "sparsity": 0.2}, "set": {"rewind": 1}},
        ],
    )
    by_model = {t.model.name: t for t in spanned}
    assert (by_model["vae"].recipe.lr, by_model["vae"].epochs, by_model["vae"].rewind) == (1e-3, 10, 2)
    assert (by_model["dcgan"].recipe.lr, by_model["dcgan"].epochs, by_model["dcgan"].rewind) == (2e-4, 3, 1)
    assert by_model["dcgan"].recipe.betas == (0.5, 0.9)


def test_a_bare_seed_matches_as_it_is_written_in_the_list() -> None:
    left = trials(seeds=[0, 1, {"init": 1, "order": 0}], exclude=[{"seed": 1}])
    assert [(t.seed.init, t.seed.order) for t in left] == [(0, 0), (1, 0)]


def test_exclusions_leave_trials_out() -> None:
    left = trials(models=["vae", "dcgan"], seeds=2, exclude=[{"model": "dcgan", "seed.init": 1}])
    assert [(t.model.name, t.seed.init) for t in left] == [("vae", 0), ("vae", 1), ("dcgan", 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 1]}, "duplicate trial: vae on digits by imp at sparsity 0.2 with seed 1/1"),
        ({"methods": ["imp", {"name": "imp", "rewind": 2}]}, "duplicate trial"),
        ({"rewind": 10}, r"rewind: epoch 10 .* must be below epochs \(10\)"),
        ({"sparsities": []}, "sparsities: method 'imp' needs at least one"),
        ({"overrides": [{"where": {"model": "gan"}, "set": {"epochs": 3}}]}, "overrides.0.where: matches no trial"),
        ({"exclude": [{"model": "gan"}]}, "exclude.0: matches no trial"),
        ({"exclude": [{"model": "vae"}]}, "nothing is left"),
        ({"overrides": [{"where": {"model": "vae"}, "set": {"recipe.rl": 1}}]}, "unknown setting 'recipe.rl'; .* lr"),
        ({"overrides": [{"where": {"model": "vae"}, "set": {"epochs.x": 1}}]}, "unknown setting 'epochs.x'"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trials(**change)


@pytest.mark.parametrize(
    "change", [{"sparsity": 2.0}, {"epochs": 0}, {"epochs": 2}, {"method": {"name": "imp"}}, {"recipe": {"batch": 0}}]
)
def test_a_trial_written_by_hand_is_checked_too(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Trial.model_validate({**trial().model_dump(), **change})


def test_a_later_override_wins() -> None:
    where = {"model": "vae"}
    overrides = [{"where": where, "set": {"epochs": 5}}, {"where": where, "set": {"epochs": 7}}]
    assert trial(overrides=overrides).epochs == 7


def test_a_trial_that_comes_to_another_process_brings_its_plugins() -> None:
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); assert 'tests.command' in sys.modules"
    pickled = pickle.dumps(trial(plugins=["tests.command"]))
    subprocess.run([sys.executable, "-c", code], input=pickled, check=True, cwd=REPOSITORY, timeout=120)


@pytest.mark.parametrize("spec", [None, "", "[1]", "{}", '{"plugins": 3}', '{"plugins": ["gone"]}'])
def test_a_stored_trial_of_another_form_is_told_of_in_one_sentence(spec: Any) -> None:
    with pytest.raises(StoredError, match="trial abc is not understood here: ") as caught:
        stored_trial("abc", spec)
    assert ("plugins gone" in str(caught.value)) == (spec is not None and "gone" in spec)
