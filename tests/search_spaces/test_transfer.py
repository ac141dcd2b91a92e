from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.methods import Control
from search_spaces.transfer import Transfer
from search_spaces.trial import Trial
from tests.toys import toy_trials

VAE = {"name": "vae", "width": 2, "latent": 3}
DCGAN = {"name": "dcgan", "width": 2, "latent": 3}


def transfer(**source: Any) -> dict[str, Any]:
    return {"name": "transfer", "source": source}


def trials(*methods: Any, **changes: Any) -> tuple[Trial, ...]:
    return toy_trials(**{"models": [DCGAN], "methods": list(methods), "sparsities": [0.488], **changes})


def source_of(trial: Trial) -> Trial:
    assert isinstance(trial.finder, Transfer)
    assert trial.finder.source.trial is not None
    return trial.finder.source.trial


def test_a_source_named_by_fields_is_the_same_trial_but_for_these() -> None:
    (trial,) = trials(transfer(model=VAE, recipe={"lr": 1e-4}), seeds=[7])
    (other,) = trials("imp", models=[VAE], seeds=[7], recipe={"batch": 20, "lr": 1e-4})
    assert source_of(trial).id == other.id


def test_a_source_has_the_settings_that_the_sweep_gives_to_its_like() -> None:
    slower = {"where": {"model": "vae"}, "set": {"recipe.lr": 1e-4, "epochs": 6}}
    taker, _, source = trials(transfer(model=VAE), "imp", models=[DCGAN, VAE], exclude=[SELF], overrides=[slower])
    assert source_of(taker).id == source.id
    assert (source.epochs, taker.epochs) == (6, 4)


SELF = {"model": "vae", "method.source.model": "vae"}


def test_a_source_may_be_of_other_data_sparsity_and_seed() -> None:
    (trial,) = trials(transfer(dataset="digits", sparsity=0.2, seed=5))
    source = source_of(trial)
    assert (source.model, source.dataset.name, source.sparsity, source.seed.init) == (trial.model, "digits", 0.2, 5)


def test_a_sources_sparsity_is_on_the_grid_as_any_other() -> None:
    (rounded,), (exact,) = trials(transfer(sparsity=0.36)), trials(transfer(sparsity=0.36 + 1e-10))
    assert rounded.id == exact.id


def test_the_trial_that_a_ticket_comes_from_is_part_of_what_the_taker_is() -> None:
    (one,), (other,) = trials(transfer(model=VAE)), trials(transfer(model={**VAE, "beta": 2}))
    assert one.id != other.id


def test_how_a_source_is_measured_and_run_is_not() -> None:
    (one,) = trials(transfer(model=VAE))
    (other,) = trials(transfer(model=VAE), evaluation={"samples": 20}, resources={"cpus": 2})
    assert one.id == other.id


def test_a_trial_with_a_source_comes_back_from_json() -> None:
    for trial in trials(transfer(model=VAE), {"name": "weights_only", "of": transfer(model=VAE)}):
        again = Trial.model_validate_json(trial.spec_json)
        assert (again.id, again.spec_json) == (trial.id, trial.spec_json)


def test_a_ticket_can_move_twice() -> None:
    (trial,) = trials(transfer(method=transfer(model=VAE)))
    assert source_of(source_of(trial)).model.name == "vae"


def test_the_mask_alone_is_the_same_as_a_transfer_onto_the_targets_weights() -> None:
    control, plain = trials(
        {"name": "mask_only", "of": transfer(model=VAE)}, transfer(model=VAE) | {"weights": "target"}
    )
    assert isinstance(control.method, Control)
    assert control.method.finder == plain.method  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (transfer(), "a source is named in one way: by fields"),
        (transfer(trial_id="ab", query="sparsity > 0"), "a source is named in one way"),
        (transfer(trial_id=1234567890123456), "put ids in quotes"),
        (transfer(trial_id=[]), "at least 1 item"),
        (transfer(modle=VAE), "unknown key 'modle'"),
        (transfer(model="gan"), "unknown model 'gan'"),
        (transfer(model=VAE, epochs=9_000_000_000_000), "source.epochs"),
        (
            transfer(model={**VAE, "width": 4}),
            "vae is of width 4 and dcgan of width 2; tickets move between models of one width",
        ),
        (
            transfer(model={"name": "linear_autoencoder", "width": 2}),
            "is made of mlp and dcgan of conv, which have no roles in common",
        ),
        (transfer(model={**VAE, "backbone": "resnet"}), "resnet_vae is made of resnet and dcgan of conv"),
        (transfer(model=VAE, method="dense"), "source: a trial of 'dense' has no mask that could move"),
        (transfer(model=VAE, method={"name": "small_dense"}), "has no mask that could move"),
        ({**transfer(model=VAE), "scope": {"components": ["generator"]}}, "scope: the mask is found in the source"),
        ({"name": "invert", "of": transfer(model=VAE)}, "'transfer' finds its mask in another model"),
        ({"name": "fine_tune", "of": transfer(model=VAE)}, "'transfer' finds its mask in another model"),
        ({"name": "mask_only", "of": "imp"}, "mask_only is a control of transfer, not of 'imp'"),
        ({"name": "weights_only"}, "of"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(method: Any, message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=r"(?s).*") as refused:
        trials(method)
    assert message in str(refused.value)
