"""What distances are settled on, by what there is, and that a store goes on with it."""

from pathlib import Path
from typing import Any

import pytest

from search_spaces.datasets import FashionMNIST
from search_spaces.trial import Distances, Trial
from tests.toys import toy_trial
from workers import data
from workers.data import DataError, DatasetCard
from workers.lab.keys import VERSIONS, classifier_key
from workers.measures import pretrained as weights
from workers.measures.pretrained import Weights, WeightsError
from workers.settling import distances as choices
from workers.settling.distances import Choices, DistancesError
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects

SHA256 = "5f" * 32
FASHION = DatasetCard("fashion", (1, 32, 32), 60_000, 10_000, 10, "labels")

AUTO = {"samples": 50, "distances": {"features": "auto"}}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What there is on this machine: a set that a test adds to."""
    there: set[str] = set()
    card = data.card

    def find(features: Any) -> Weights | None:
        return Weights(Path(__file__), SHA256) if features in there else None

    def fashion_or_digits(dataset: Any) -> DatasetCard:
        if not isinstance(dataset, FashionMNIST):
            return card(dataset)
        if "fashion" not in there:
            raise DataError("data set fashion_mnist: not here; get it")
        return FASHION

    monkeypatch.setattr(choices.data, "card", fashion_or_digits)
    monkeypatch.setattr(weights, "find", find)
    return there


def trial(model: str = "vae", samples: int = 50, **distances: Any) -> Trial:
    evaluation: dict[str, Any] = {"samples": samples, "distances": {"features": "auto", **distances}}
    return toy_trial(model, evaluation=evaluation)


def settled(store: Store, of: Trial) -> Distances:
    (found,) = Choices(store).settle([of])
    return found.evaluation.distances


def test_the_best_that_is_there_is_taken(store: Store, here: set[str]) -> None:
    assert settled(store, trial()) == Distances(features="none")
    here |= {"fashion", "effnet"}
    assert settled(store, trial()) == Distances(features="fashion", weights=classifier_key("fashion", FASHION))


def test_inception_is_the_best_where_there_are_samples_enough(
    store: Store, here: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here |= {"fashion", "inception"}
    assert settled(store, trial(samples=2048)).features == "fashion"
    assert settled(store, trial(samples=2049)) == Distances(features="inception", weights=SHA256)


def test_it_is_said_what_was_settled_and_why(store: Store, here: set[str]) -> None:
    made = Choices(store)
    made.settle([trial(), trial("dcgan"), trial("linear_autoencoder")])
    (sentence,) = made.told
    assert sentence.startswith("distances on toy_digits: none; inception needs more samples than its 2048 features")
    assert "fashion_mnist: not here; get it" in sentence


def test_a_store_goes_on_with_what_it_began_with(store: Store, here: set[str]) -> None:
    here.add("fashion")
    first = Choices(store)
    first.settle([trial()])
    first.record()
    here.clear()
    assert settled(store, trial()).features == "fashion"
    again = Choices(store)
    again.settle([trial()])
    assert "as before in this store" in again.told[0]


def test_planning_alone_records_nothing(store: Store, here: set[str]) -> None:
    Choices(store).settle([trial()])
    assert list(store.list("")) == []


def test_weights_are_kept_in_the_store_for_workers_that_have_none(
    store: Store, here: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"some weights")
    monkeypatch.setattr(weights, "find", lambda features: Weights(file, SHA256))
    made = Choices(store)
    made.settle([trial(features="effnet", samples=400)])
    made.record()
    assert Objects(store).read(names.weights(SHA256)) == b"some weights"


def test_an_autoencoder_has_no_distances_whatever_is_asked(store: Store, here: set[str]) -> None:
    assert settled(store, trial("linear_autoencoder", features="inception")) == Distances(features="none")


def test_what_is_settled_stays(store: Store) -> None:
    chosen = {"features": "inception", "weights": SHA256}
    assert settled(store, trial(**chosen)) == Distances(**chosen)


def test_settling_changes_neither_identity_nor_anything_else(store: Store, here: set[str]) -> None:
    asked = trial()
    assert asked.spec_json  # which is remembered by the trial, and must not be by its copy
    (found,) = Choices(store).settle([asked])
    assert found.id == asked.id
    assert found == Trial.model_validate_json(found.spec_json)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            {"features": "inception", "samples": 2048},
            DistancesError,
            "inception needs more samples than its 2048 features",
        ),
        ({"features": "fashion", "samples": 48}, DistancesError, "fashion needs more samples than its 48 features"),
        ({"features": "inception", "samples": 5000}, WeightsError, "--download"),
        ({"features": "fashion"}, DataError, "not here; get it"),
    ],
)
def test_what_is_asked_for_and_cannot_be_had_is_an_error(
    store: Store, here: set[str], asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        settled(store, trial(**asked))


def test_a_fraction_or_a_selection_is_measured_as_the_whole_was(store: Store, here: set[str]) -> None:
    here.add("effnet")
    first = Choices(store)
    first.settle([trial(samples=400)])
    first.record()
    here.add("fashion")
    selecting = {"samples": 400, "distances": {"features": "auto"}, "selection": {"every": 1, "samples": 400}}
    less = {"name": "toy_digits", "fraction": 0.5}
    for asked in (
        trial(samples=401),
        toy_trial("vae", evaluation=selecting),
        toy_trial("vae", datasets=[less], evaluation={"samples": 400, "distances": {"features": "auto"}}),
    ):
        assert settled(store, asked).features == "effnet"
    assert settled(store, toy_trial("vae", datasets=["digits"], evaluation=AUTO)).features == "fashion"


def test_having_none_is_remembered_and_says_what_to_do(store: Store, here: set[str]) -> None:
    first = Choices(store)
    first.settle([trial()])
    first.record()
    here.add("fashion")
    again = Choices(store)
    again.settle([trial()])
    assert "none, as before in this store; name evaluation.distances.features to have any" in again.told[0]
    assert settled(store, trial(features="fashion")).features == "fashion"


def test_features_that_need_more_samples_give_way_to_others(store: Store, here: set[str]) -> None:
    here |= {"inception", "fashion"}
    first = Choices(store)
    first.settle([trial(samples=3000)])
    first.record()
    assert settled(store, trial(samples=3001)).features == "inception"
    assert settled(store, trial(samples=100)).features == "fashion"


@pytest.mark.parametrize("features", ["fashion", "effnet"])
def test_what_a_store_holds_is_not_needed_on_the_machine(
    store: Store, here: set[str], features: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"some weights")
    here |= {"fashion", "effnet"}
    find = weights.find
    monkeypatch.setattr(weights, "find", lambda f: Weights(file, SHA256) if find(f) else None)
    first = Choices(store)
    first.settle([trial(features=features, samples=400)])
    first.record()
    here.clear()
    again = Choices(store)
    again.settle([trial(features=features, samples=401)])
    again.record()


def test_a_new_way_to_fit_a_classifier_makes_another(
    store: Store, here: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.add("fashion")
    first = Choices(store)
    first.settle([trial()])
    first.record()
    before = settled(store, trial()).weights
    monkeypatch.setitem(VERSIONS, "fit", 99)
    assert settled(store, trial()).weights != before


def test_weights_are_not_for_users_to_give() -> None:
    with pytest.raises(ValueError, match="weights: tombola fills them in"):
        trial(weights=SHA256)
    with pytest.raises(ValueError, match="String should match"):
        trial(features="effnet", weights="../../x")


def test_a_selection_needs_samples_enough_too(store: Store, here: set[str]) -> None:
    evaluation = {
        "samples": 60,
        "distances": {"features": "fashion"},
        "selection": {"every": 1, "samples": 40},
    }
    with pytest.raises(DistancesError, match=r"its 48 features, but selection.samples is 40"):
        settled(store, toy_trial("vae", evaluation=evaluation))
