"""Methods whose course depends on data, as a user of the command meets them."""

import json
from pathlib import Path

import pytest

from orchestrator import results
from tests.command import Tombola, write
from tests.toys import TOY_MODELS

BIRD = {"name": "early_bird", "look_back": 2, "delta": 0.9}


def early(path: Path, **options: object) -> str:
    model = {**TOY_MODELS["dcgan"], "width": 4}
    return write(path, models=[model], methods=["dense", {**BIRD, **options}], sparsities=[0.3, 0.6], epochs=6)


def test_a_plan_says_between_which_numbers_of_epochs_it_lies(tombola: Tombola, tmp_path: Path) -> None:
    sweep = early(tmp_path / "sweep.yaml")
    assert "6 to 14, by when masks emerge" in tombola("plan", sweep).out
    planned = json.loads(tombola("plan", sweep, "--json").out)
    assert (planned["least_epochs"], planned["epochs"]) == (6, 14)
    assert tombola("run", sweep).code == 0
    assert json.loads(tombola("plan", sweep, "--json").out)["epochs_missing"] == 0
    again = tombola("run", sweep)
    assert "of which this run trained 0" in again.out


def test_no_ticket_is_a_result_that_is_told_and_not_tried_again(tombola: Tombola, tmp_path: Path) -> None:
    sweep = early(tmp_path / "sweep.yaml", delta=0.0, max_search_epochs=2)
    ran = tombola("run", sweep)
    assert ran.code == 0, ran.err
    assert "0 diverged, 2 without a ticket, 0 missing" in ran.out
    assert "no mask came to rest in 2 epochs" in tombola("status", sweep).out
    assert "trials to try again (failed): 0;" in tombola("resume", sweep).out
    assert (results.trials("tombola-store")["status"] == "no_ticket").sum() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": [{"name": "early_bird", "look_back": 9}]}, "look_back: 9 masks are never seen"),
        ({"methods": [{"name": "snip", "images": 500}]}, "images: 500 is more than the 120 training images"),
        ({"methods": [{"name": "imp", "scope": {"components": ["critic"]}}]}, "has no 'critic'"),
        ({"methods": ["lr_rewinding"]}, "needs recipe.decay"),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_anything_runs(
    change: dict[str, object], message: str, tombola: Tombola, tmp_path: Path
) -> None:
    refused = tombola("plan", write(tmp_path / "sweep.yaml", **change))
    assert refused.code == 2
    assert message in refused.err
    assert "Traceback" not in refused.err
