"""Methods: what of their options is refused, and how they are completed."""

from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.errors import sentence
from search_spaces.methods import Control, Finder, methods
from tests.toys import toy_trial, toy_trials
from workers import data
from workers.lab.recorder import Recorder


def method_of(option: Any) -> Any:
    return toy_trial(methods=[option], sparsities=[0.5], epochs=8).method


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "early_bird", "delta": 1.0}, "methods.0.delta"),
        ({"name": "early_bird", "look_back": 1}, "methods.0.look_back"),
        ({"name": "early_bird", "look_back": 8}, "look_back: 8 masks are never seen"),
        ({"name": "early_bird", "max_search_epochs": 8}, "max_search_epochs: 8 leaves nothing to train"),
        ({"name": "early_bird", "rewind": 2}, "say start: rewind"),
        ({"name": "fixed_epoch"}, "epoch"),
        ({"name": "fixed_epoch", "epoch": 8}, "epoch: 8 leaves nothing to train"),
        ({"name": "snip", "rewind": 8}, "rewind: epoch 8 of method 'snip' leaves nothing to train"),
        ({"name": "snip", "images": 1}, "methods.0.images"),
        ({"name": "snip", "loss": "other"}, "methods.0.loss"),
        ({"name": "synflow", "iterations": 0}, "methods.0.iterations"),
        ({"name": "imp", "scope": {"components": ["generator"]}}, "a linear_autoencoder has no 'generator'"),
        ({"name": "imp", "scope": {"ranking": "local"}}, "methods.0.scope.ranking"),
        ({"name": "early_bird", "masks": "weights", "round_to": 8}, "round_to: is of masks of channels"),
        ({"name": "imp", "keep": "worst"}, "unknown key 'keep'"),
        ({"name": "early_bird_reinit", "of": "imp"}, "of 'imp' the same control is reinit"),
        ({"name": "snip", "iterations": 100_000}, "methods.0.iterations"),
        ({"name": "random_channels", "of": "imp"}, "the masks of 'imp' are not of channels"),
        ({"name": "random_channels", "of": {"name": "early_bird", "masks": "weights"}}, "are not of channels"),
        ({"name": "lr_rewinding"}, "'lr_rewinding' needs recipe.decay"),
        ({"name": "fine_tune", "of": {"name": "early_bird", "start": "rewind"}}, "without start: rewind"),
        ({"name": "shuffle_layer", "of": "erk"}, "'erk' does not find a mask"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(method: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is looked at below
        method_of(method)
    error = raised.value
    assert message in (sentence(error) if isinstance(error, ValidationError) else str(error))


def test_a_batch_of_images_larger_than_the_data_set_is_refused() -> None:
    trial = toy_trial(methods=[{"name": "snip", "images": 121}], sparsities=[0.5])
    with pytest.raises(ValueError, match="images: 121 is more than the 120 training images of toy_digits"):
        Recorder(trial, data.card(trial.dataset))


def test_finders_before_training_do_not_take_the_sweep_s_rewind_epoch() -> None:
    rewinds = {name: method_of(name).rewind for name in ("imp", "one_shot", "snip", "grasp", "synflow", "magnitude")}
    assert rewinds == {"imp": 1, "one_shot": 1, "snip": 0, "grasp": 0, "synflow": 0, "magnitude": 0}


def test_early_bird_is_rewound_only_if_it_is_to_start_there() -> None:
    assert method_of("early_bird").rewind == 0
    assert method_of({"name": "early_bird", "start": "rewind"}).rewind == 1


def test_a_scope_that_says_the_default_is_the_default() -> None:
    written = toy_trials(methods=[{"name": "imp", "scope": {"ranking": "global"}}], sparsities=[0.5])
    assert written[0].id == toy_trials(methods=["imp"], sparsities=[0.5])[0].id


def test_every_method_is_a_finder_a_control_or_dense() -> None:
    transfer = {"name": "transfer", "source": {"model": "vae"}}
    needed = {
        "fixed_epoch": {"epoch": 1},
        "transfer": transfer,
        "mask_only": {"of": transfer},
        "weights_only": {"of": transfer},
    }
    for name in methods.names:
        assert isinstance(methods.parse({"name": name, **needed.get(name, {})}), Finder | Control) or name == "dense"
