from dataclasses import replace
from typing import Any

import pytest

from search_spaces.errors import TombolaError
from tests.toys import toy_trial
from workers.data import DatasetCard
from workers.measures.metrics import METRICS
from workers.measures.requirements import check_demands, selected_by

CARD = DatasetCard("fingerprint", (1, 32, 32), 120, 100, 10, "labels")
KEY = "ab" * 32
FASHION = {"features": "fashion", "weights": KEY}


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"samples": 101}, "evaluation.samples: 101 is more than the 100 held-out images of toy_digits"),
        (
            {"samples": 10, "distances": {**FASHION, "samples": 101}},
            "evaluation.distances.samples: 101 is more than the 100 held-out images of toy_digits",
        ),
        (
            {"distances": {**FASHION, "samples": 121, "reference": "train"}},
            "evaluation.distances.samples: 121 is more than the 120 training images of toy_digits",
        ),
        (
            {"samples": 60, "selection": {"every": 1, "samples": 41}},
            "evaluation.selection.samples: 41 for selection and 60 to report on are more than the 100 held-out images",
        ),
        (
            {"samples": 10, "distances": {**FASHION, "samples": 60}, "selection": {"every": 1, "samples": 41}},
            "evaluation.selection.samples: 41 for selection and 60 to report on",
        ),
        (
            {"selection": {"every": 1, "samples": 9, "by": "loss"}},
            "evaluation.selection.by: 'loss' is not measured there on a vae; known: elbo, reconstruction_mse",
        ),
        (
            {"selection": {"every": 1, "samples": 9, "by": "fid"}, "distances": FASHION},
            "'fid' is not measured there on a vae; known: frechet_distance, kernel_distance, elbo",
        ),
        ({"selection": {"every": 1, "samples": 9, "by": "kl"}}, "'kl' is not measured there"),
        ({"selection": {"every": 1, "samples": 9, "by": "downstream_accuracy"}}, "is not measured there on a vae"),
    ],
)
def test_what_cannot_be_measured_is_told_before_training(evaluation: dict[str, Any], message: str) -> None:
    with pytest.raises(TombolaError, match=message):
        check_demands(toy_trial("vae", evaluation=evaluation), CARD)


def test_images_to_the_last_one_can_be_asked_for() -> None:
    check_demands(toy_trial("vae", evaluation={"samples": 60, "selection": {"every": 1, "samples": 40}}), CARD)
    train = {**FASHION, "samples": 120, "reference": "train"}
    check_demands(toy_trial("vae", evaluation={"samples": 100, "distances": train}), CARD)


def test_without_labels_there_is_no_downstream_accuracy() -> None:
    with pytest.raises(TombolaError, match=r"evaluation.downstream: toy_digits has no labels"):
        check_demands(toy_trial(evaluation={"downstream": True}), DatasetCard("f", (1, 32, 32), 120, 100))


@pytest.mark.parametrize(
    ("model", "distances", "by"),
    [
        ("linear_autoencoder", {}, "reconstruction_mse"),
        ("vae", {}, "elbo"),
        ("vae", FASHION, "frechet_distance"),
        ("dcgan", {"features": "inception", "weights": KEY}, "fid"),
    ],
)
def test_the_best_epoch_is_selected_by_what_a_model_is_best_judged_by(
    model: str, distances: dict[str, str], by: str
) -> None:
    evaluation = {"selection": {"every": 1, "samples": 9}, **({"distances": distances} if distances else {})}
    assert selected_by(toy_trial(model, evaluation=evaluation)) == by


def test_a_gan_without_distances_has_nothing_to_be_selected_by() -> None:
    with pytest.raises(TombolaError, match="without distances a dcgan has nothing to be selected by"):
        selected_by(toy_trial("dcgan", evaluation={"selection": {"every": 1, "samples": 9}}))


@pytest.mark.parametrize(("model", "by"), [("dcgan", "elbo"), ("linear_autoencoder", "elbo")])
def test_a_model_is_not_selected_by_what_its_family_does_not_have(model: str, by: str) -> None:
    distances = {"distances": FASHION} if model == "dcgan" else {}
    with pytest.raises(TombolaError, match=f"'elbo' is not measured there on a {model}"):
        selected_by(toy_trial(model, evaluation={"selection": {"every": 1, "samples": 9, "by": by}, **distances}))


def test_features_of_grey_images_are_not_for_colour() -> None:
    with pytest.raises(TombolaError, match="fashion is for images of 1 channel, toy_digits has 3"):
        check_demands(toy_trial("vae", evaluation={"distances": FASHION}), replace(CARD, image=(3, 32, 32)))


@pytest.mark.parametrize(
    "metric", ["fid", "kid", "frechet_distance", "kernel_distance", "reconstruction_mse", "reconstruction"]
)
def test_errors_and_distances_are_best_where_they_are_lowest(metric: str) -> None:
    assert METRICS[metric].best_of([3.0, 1.0, 2.0, 1.0]) == 1


@pytest.mark.parametrize("metric", ["elbo", "inception_score"])
def test_bounds_and_scores_are_best_where_they_are_highest(metric: str) -> None:
    assert METRICS[metric].best_of([-2.0, -1.0, -1.0]) == 1
