"""Whole trials that are measured by more than their losses: made once, looked at, resumed, and never retrained."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import results, sweeps
from search_spaces.trial import Trial
from tests.toys import ToyDigits, toy_trial
from workers import data, device
from workers.data import DatasetCard
from workers.evaluation import classifiers, instruments
from workers.evaluation.classifiers import SCHOOLINGS
from workers.evaluation.feature_set import FeatureSet
from workers.evaluation.stages import judge_of, part_of
from workers.lab import laboratory
from workers.lab.points import Wanted
from workers.lab.recorder import Recorder
from workers.lab.references import Line, State
from workers.lab.stages import Evaluate, Features, Fit, Select
from workers.measures import feature_spaces
from workers.measures import pretrained as weights
from workers.measures.feature_spaces import FeatureSpace
from workers.program import run_program
from workers.reports import EpochTrained, Report
from workers.store import names
from workers.store.backends import Store, open_store
from workers.store.objects import Objects
from workers.trial import run_trial
from workers.workbench import Workbench

CARD = DatasetCard("fingerprint", (1, 32, 32), 120, 100, 10, "labels")
KEY, OTHER = "ab" * 32, "cd" * 32
INCEPTION = {"features": "inception", "weights": KEY, "samples": 70}


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toy digits in the place of Fashion-MNIST, and a classifier of them that is not asked for much."""
    monkeypatch.setitem(data.sources, "fashion_mnist", data.sources["toy_digits"])
    monkeypatch.setitem(SCHOOLINGS, "fashion", replace(SCHOOLINGS["fashion"], epochs=1, accuracy=0.0))
    data.card.cache_clear()
    instruments._network.cache_clear()
    yield
    data.card.cache_clear()
    instruments._network.cache_clear()


@pytest.fixture
def inception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inception_weights: bytes) -> str:
    """Random weights of Inception where the real ones would be, and a layer that few images are enough for."""
    sha256 = hashlib.sha256(inception_weights).hexdigest()
    monkeypatch.setenv("TOMBOLA_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(inception_weights)
    monkeypatch.setitem(weights.SHA256, "inception", sha256)
    monkeypatch.setitem(feature_spaces.SPACES, "inception", FeatureSpace("64", 64, (1, 3)))
    return sha256


class Counted:
    """Listens to a trial and counts the epochs that it trains."""

    def __init__(self) -> None:
        self.epochs = 0

    def __call__(self, report: Report) -> None:
        self.epochs += isinstance(report, EpochTrained)


def run(store: Store, model: str = "dcgan", **changes: Any) -> int:
    counted = Counted()
    assert run_trial(toy_trial(model, **changes), store, None, counted) == "done"
    return counted.epochs


@pytest.mark.slow
def test_fid_is_measured_by_torch_fidelity_offline(store: Store, inception: str) -> None:
    evaluation = {"samples": 70, "distances": {"features": "inception"}}
    assert run(store, evaluation={"samples": 70}) > 0
    assert run(store, evaluation=evaluation) == 0, "a metric was added, and something was trained for it"
    row = results.trials(store.uri).set_index("features").loc["inception"]
    assert row["fid"] > 0
    assert 0 <= row["precision"] <= 1
    assert row["inception_score"] >= 1
    assert (row["features_weights"], row["distance_samples"]) == (inception, 70)
    assert results.trials(store.uri)["fid"].notna().sum() == 1
    assert Objects(store).read(names.weights(inception)) is not None


def test_the_key_of_features_holds_all_that_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(card: DatasetCard = CARD, **distances: Any) -> str:
        trial = toy_trial("dcgan", evaluation={"samples": 70, "distances": {**INCEPTION, **distances}})
        return features_of(trial, card)[0].key

    keys = [
        key(),
        key(replace(CARD, fingerprint="other")),
        key(replace(CARD, image=(1, 64, 64))),
        key(samples=71),
        key(weights=OTHER),
        key(features="effnet"),
        key(reference="train"),
    ]
    monkeypatch.setitem(feature_spaces.SPACES, "inception", FeatureSpace("768", 768, (1, 3)))
    keys.append(key())
    assert len(set(keys)) == len(keys)


def features_of(trial: Trial, card: DatasetCard = CARD) -> list[Features]:
    recorder = Recorder(trial, card)
    run_program(recorder, trial)
    return [stage for stage in recorder.stages.values() if isinstance(stage, Features)]


def test_features_of_real_images_are_taken_once_for_all_models(store: Store, fashion: None) -> None:
    evaluation = {"distances": {"features": "fashion"}}
    for model in ("vae", "dcgan"):
        run(store, model, evaluation=evaluation)
    assert len(list(store.list("objects/features"))) == 1
    assert len(list(store.list("objects/classifiers"))) == 1
    rows = results.trials(store.uri)
    assert (rows["frechet_distance"] > 0).all()
    assert rows["fid"].isna().all()
    (classifier,) = store.list("objects/classifiers")
    payload = Objects(store).read(classifier)
    assert payload is not None
    assert set(rows["features_weights"]) == {hashlib.sha256(payload).hexdigest()}


@pytest.mark.parametrize(("part", "images"), [("held_out", slice(0, 60)), ("train", slice(0, 60))])
def test_features_are_those_of_the_reference(store: Store, fashion: None, part: str, images: slice) -> None:
    evaluation = {"distances": {"features": "fashion", "samples": 60, "reference": part}}
    run(store, "vae", evaluation=evaluation)
    (name,) = store.list("objects/features")
    payload = Objects(store).read(name)
    assert payload is not None
    (classifier,) = store.list("objects/classifiers")
    network = classifiers.unpack(Objects(store).read(classifier) or b"", "fashion", 1)
    real = torch.from_numpy(getattr(data.load(ToyDigits()), part)[images].copy())
    with torch.no_grad():
        expected = instruments.Penultimate(network)(real)
    torch.testing.assert_close(FeatureSet.unpack(payload).values, expected)


def test_the_best_epoch_is_selected_on_images_that_are_not_reported_on(store: Store) -> None:
    evaluation = {"samples": 60, "selection": {"every": 1, "samples": 40}}
    run(store, "linear_autoencoder", evaluation=evaluation, epochs=6, recipe={"batch": 20, "lr": 0.2})
    row, scores = results.trials(store.uri).iloc[0], results.scores(store.uri)
    candidates = scores[(scores["images"] == "selection") & (scores["metric"] == "reconstruction_mse")]
    best = candidates.loc[candidates["value"].idxmin()]
    assert sorted(candidates["epoch"]) == [2, 3, 4, 5, 6]
    assert (row["best_epoch"], row["selected_by"]) == (best["epoch"], "reconstruction_mse")
    assert set(scores[scores["best"]]["epoch"]) == {best["epoch"]}
    reported = scores[(scores["images"] == "held_out") & scores["best"]]
    assert reported["value"].tolist() == [row["best_score"]]
    assert row["best_score"] != best["value"]
    last = scores[(scores["images"] == "held_out") & scores["last"]]
    assert last["value"].tolist() == [row["reconstruction_mse"]]


def test_looking_at_epochs_changes_nothing_and_trains_nothing_twice(store: Store, tmp_path: Path) -> None:
    plain, looked_at = store, open_store(str(tmp_path / "other"))
    evaluation = {"samples": 60, "selection": {"every": 1, "samples": 40}}
    assert run(plain, "vae") == run(looked_at, "vae", evaluation=evaluation)
    masks = [results.masks(place.uri)["mask"].tolist() for place in (plain, looked_at)]
    assert masks[0] == masks[1]
    finals = [results.trials(place.uri)["reconstruction_mse"] for place in (plain, looked_at)]
    assert finals[0][0] != finals[1][0]  # 50 and 60 images
    assert not [name for name in looked_at.list(names.STATES) if name.endswith(".checkpoint")]


def test_the_stages_of_a_selection_are_planned() -> None:
    trial = toy_trial("vae", epochs=5, evaluation={"samples": 60, "selection": {"every": 2, "samples": 40}})
    recorder = Recorder(trial, CARD)
    outcome = run_program(recorder, trial)
    assert outcome.selection is not None
    select = recorder.stages[outcome.selection]
    assert isinstance(select, Select)
    assert [candidate.state.epoch for candidate in select.candidates] == [2, 4, 5]
    assert {candidate.part for candidate in select.candidates} == {laboratory.SELECTION}
    evaluations = [stage for stage in recorder.stages.values() if isinstance(stage, Evaluate)]
    assert len(evaluations) == 4


def test_downstream_accuracy_has_a_classifier_that_is_trained_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHOOLINGS, "resnet18", replace(SCHOOLINGS["resnet18"], epochs=1))
    for model in ("linear_autoencoder", "vae", "dcgan"):
        run(store, model, evaluation={"samples": 20, "downstream": True})
    rows = results.trials(store.uri).set_index("model")
    assert len(list(store.list("objects/classifiers"))) == 1
    assert rows["downstream_accuracy"].notna().to_dict() == {"linear_autoencoder": True, "vae": True, "dcgan": False}
    assert rows["downstream_accuracy_real"].nunique() == 1


def test_a_trial_whose_data_has_changed_has_not_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = toy_trial()
    run_trial(trial, store)
    assert sweeps.standing([trial], store).done == 1
    monkeypatch.setattr(data, "card", lambda dataset: CARD)
    assert sweeps.standing([trial], store).missing == (trial,)


def test_results_can_be_read_where_the_data_is_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = toy_trial()
    run_trial(trial, store)

    def gone(dataset: Any) -> DatasetCard:
        raise data.DataError("data set toy_digits: not here")

    monkeypatch.setattr(data, "card", gone)
    assert sweeps.standing([trial], store).done == 1


def test_weights_that_are_gone_from_the_store_are_told_in_one_sentence(store: Store) -> None:
    instruments._network.cache_clear()
    trial = toy_trial("dcgan", evaluation={"samples": 70, "distances": {"features": "effnet", "weights": KEY}})
    assert run_trial(trial, store) == "failed"
    assert "the weights of effnet: objects/weights/ab/abab" in results.trials(store.uri)["error"][0]


def test_another_evaluation_that_is_stopped_leaves_histories_and_masks_to_the_first(store: Store) -> None:
    trial = toy_trial()
    run_trial(trial, store)
    sweeps.clear_rows([toy_trial(evaluation={"samples": 49})], store)
    assert sweeps.standing([trial], store).done == 1


def test_rows_of_other_data_make_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = toy_trial()
    run_trial(trial, store)
    monkeypatch.setattr(data, "card", lambda dataset: CARD)
    sweeps.clear_rows([trial], store)
    for dataset in (names.TRIALS, names.SCORES, names.HISTORY, names.MASKS):
        assert list(store.list(dataset)) == []


def test_features_are_taken_again_when_the_classifier_has_become_another(
    store: Store, fashion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = {"distances": {"features": "fashion", "samples": 50}}
    run(store, "vae", evaluation=evaluation)
    (name,) = store.list("objects/classifiers")
    store.delete(name)
    instruments._network.cache_clear()
    instruments._real.clear()
    monkeypatch.setitem(SCHOOLINGS, "fashion", replace(SCHOOLINGS["fashion"], lr=1e-2))
    run(store, "vae", evaluation={**evaluation, "samples": 60})
    payload, (features,) = Objects(store).read(name), store.list("objects/features")
    assert payload is not None
    now = hashlib.sha256(payload).hexdigest()
    rows = results.trials(store.uri).set_index("samples")["features_weights"]
    assert rows[60] == now != rows[50]
    assert FeatureSet.unpack(Objects(store).read(features) or b"").network == now


def test_a_damaged_evaluation_of_the_best_epoch_is_made_again(store: Store) -> None:
    evaluation = {"samples": 60, "selection": {"every": 1, "samples": 40}}
    asked = {"evaluation": evaluation, "epochs": 6, "recipe": {"batch": 20, "lr": 0.2}}
    run(store, "linear_autoencoder", **asked)
    before = results.trials(store.uri)["best_score"][0]
    (selection,) = store.list("objects/selections")
    measured = (Objects(store).read_fact(selection, dict[str, Any]) or {})["evaluation"]
    store.delete(names.evaluation(measured))
    store.put_if_absent(names.evaluation(measured), b"damaged")
    for name in list(store.list(names.TRIALS)):
        store.delete(name)
    assert run(store, "linear_autoencoder", **asked) == 0
    assert results.trials(store.uri)["best_score"][0] == before


def test_selection_added_later_leaves_no_checkpoints(store: Store) -> None:
    run(store, "vae")
    run(store, "vae", evaluation={"selection": {"every": 1, "samples": 40}})
    assert not [name for name in store.list(names.STATES) if name.endswith(".checkpoint")]


def test_features_for_selection_are_never_those_of_training_images() -> None:
    distances = {**INCEPTION, "reference": "train"}
    selection = {"every": 1, "samples": 40}
    trial = toy_trial("dcgan", evaluation={"samples": 60, "distances": distances, "selection": selection})
    assert [stage.part for stage in features_of(trial)] == ["train", "selection"]


def test_the_last_held_out_images_select_and_the_first_are_reported_on(store: Store) -> None:
    trial = toy_trial(evaluation={"samples": 60, "selection": {"every": 1, "samples": 40}})
    context = Workbench(trial, store, Wanted({}, {}), device.prepare(trial.resources)).context
    held_out = torch.from_numpy(data.load(ToyDigits()).held_out.copy())
    assert part_of(context, "selection", 40).equal(held_out[60:])
    assert part_of(context, "held_out", 60).equal(held_out[:60])
    assert part_of(context, "train", 5).equal(torch.from_numpy(data.load(ToyDigits()).train[:5].copy()))


def test_an_evaluation_key_holds_what_it_looks_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(card: DatasetCard = CARD, **evaluation: Any) -> str:
        trial = toy_trial("vae", evaluation={"samples": 70, **evaluation})
        recorder = Recorder(trial, card)
        return run_program(recorder, trial).evaluation

    def labelled(labels: str) -> str:
        monkeypatch.setattr(data, "card", lambda dataset: replace(CARD, labels=labels))
        return key(downstream=True)

    keys = [key(), key(distances=INCEPTION), labelled("labels"), labelled("others")]
    monkeypatch.setitem(feature_spaces.SPACES, "inception", FeatureSpace("768", 768, (1, 3)))
    keys.append(key(distances=INCEPTION))
    assert len(set(keys)) == len(keys)


def test_the_classifier_of_downstream_accuracy_learns_all_of_the_data() -> None:
    trial = toy_trial(datasets=[{"name": "toy_digits", "fraction": 0.5}], evaluation={"downstream": True})
    recorder = Recorder(trial, CARD)
    run_program(recorder, trial)
    assert [stage.dataset for stage in recorder.stages.values() if isinstance(stage, Fit)] == [ToyDigits()]


def test_the_judge_knows_the_labels_of_the_images_that_are_evaluated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "classifier", lambda *asked: torch.nn.Identity())
    trial = toy_trial(evaluation={"samples": 25})
    context = Workbench(trial, store, Wanted({}, {}), device.prepare(trial.resources)).context
    state = State(Line("line"), 0)
    judge = judge_of(context, Evaluate("key", state, trial.evaluation, "held_out", None, "classifier"))
    labels = data.load(ToyDigits()).held_out_labels
    assert labels is not None
    assert judge is not None
    assert judge.labels.tolist() == labels[:25].tolist()
