from typing import Any

import pytest

from search_spaces.errors import TombolaError
from tests.toys import toy_trial
from workers.data import DatasetCard
from workers.demands import check_demands, selected_by

CARD = DatasetCard("fingerprint", (1, 32, 32), 120, 100, 10, "labels")
FASHION = {"features": "fashion", "weights": "key"}


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
            "evaluation.selection.by: 'loss' is no metric to select by; known: reconstruction_mse,",
        ),
        (
            {"selection": {"every": 1, "samples": 9, "by": "fid"}, "distances": FASHION},
            "evaluation.selection.by: fid is not measured; evaluation.distances.features is fashion",
        ),
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
        ("dcgan", {"features": "inception", "weights": "key"}, "fid"),
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
