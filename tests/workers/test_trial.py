"""Whole trials on real digits at toy size: what is shared, resumed, mended and recorded."""

import json
import math
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from orchestrator import results
from search_spaces.base.sparsity import sparsity_after
from search_spaces.models import models
from search_spaces.trial import Trial
from tests.toys import EVERY_MODEL, TOY_MODELS, toy_trial, toy_trials
from workers import data
from workers.archive.ledger import Ledger
from workers.archive.states import Archive, Point
from workers.endings import Interrupted
from workers.lab.points import CHECKPOINT, Wanted
from workers.lab.recorder import Recorder
from workers.lab.references import Line, State
from workers.models import build
from workers.models.state import MOMENTS
from workers.program import run_program
from workers.reports import EpochTrained, Report, TrialEnded, TrialStarted
from workers.settling.codes import Codes
from workers.store import names
from workers.store.backends import LocalStore, Store, StoreError, open_store
from workers.store.objects import Objects
from workers.store.presence import running
from workers.tickets.export import export_ticket
from workers.trial import run_trial

ALL_METHODS = ["dense", "imp", "one_shot", "reinit", "shuffle_layer"]
BIRD = {"name": "early_bird", "look_back": 2, "delta": 0.9, "fallback": "filter_norm"}
OF_WEIGHTS: list[Any] = [
    "imp",
    "one_shot",
    "magnitude",
    "snip",
    {"name": "snip", "loss": "joint", "iterations": 3},
    "grasp",
    {"name": "grasp", "iterations": 2},
    {"name": "synflow", "iterations": 5},
    "random_chain",
    "reinit",
    "shuffle_layer",
    "shuffle_filter",
    {"name": "random_global", "of": "snip"},
    "erk",
    "invert",
    "fine_tune",
    "lr_rewinding",
]
OF_CHANNELS: list[Any] = [
    BIRD,
    {"name": "fixed_epoch", "epoch": 2, "fallback": "filter_norm"},
    {"name": "random_channels", "of": BIRD},
    {"name": "early_bird_reinit", "of": BIRD},
]
SMALL: list[Any] = ["small_dense", {"name": "small_dense", "equal": "flops", "of": BIRD}]


class Killed(BaseException):
    """Stands for a process that dies: nothing catches it."""


class Diary:
    """Listens to trials, remembering every epoch that was trained."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.reports: list[Report] = []
        self.stop_after = stop_after

    @property
    def epochs(self) -> list[tuple[str, int]]:
        return [(report.line, report.epoch) for report in self.reports if isinstance(report, EpochTrained)]

    def __call__(self, report: Report) -> None:
        self.reports.append(report)
        if self.stop_after is not None and len(self.epochs) >= self.stop_after:
            raise Killed


def wanted(trials: Sequence[Trial]) -> Wanted:
    stages = {}
    for trial in trials:
        recorder = Recorder(trial, data.card(trial.dataset))
        run_program(recorder, trial)
        stages |= recorder.stages
    return Wanted.by(stages.values())


def run_all(trials: Sequence[Trial], store: Store, diary: Diary | None = None) -> Diary:
    diary, trials = diary or Diary(), Codes(store).settle(trials)
    for trial in trials:
        run_trial(trial, store, wanted(trials), diary)
    return diary


def packed(store: Store, trials: Sequence[Trial]) -> dict[str, bytes]:
    return {trial.id: results.mask(store.uri, trial.id).pack() for trial in trials}


@pytest.mark.slow
@pytest.mark.parametrize("model", [*TOY_MODELS, "resnet_vae", "sngan"])
def test_every_method_finds_a_ticket_of_the_sparsity_asked_for(model: str, store: Store) -> None:
    recipe = {"batch": 20, "decay": {"epochs": 4}}
    spec = {**EVERY_MODEL[model], "width": 4}
    trials = toy_trials(
        models=[spec], methods=["dense", *OF_WEIGHTS, *OF_CHANNELS, *SMALL], sparsities=[0.488], recipe=recipe
    )
    run_all(trials, store)
    rows = results.trials(store.uri).set_index("trial_id").loc[[trial.id for trial in trials]]
    assert (rows["status"] == "done").all(), rows["error"].unique()
    dense, *others = (row for _, row in rows.iterrows())
    assert dense["kept"] == dense["prunable"]
    for row in others[: len(OF_WEIGHTS)]:
        assert row["kept"] == round(dense["prunable"] * 0.512), row["method"]
        assert results.mask(store.uri, row.name).kept == row["kept"]
    for row in others[len(OF_WEIGHTS) : -len(SMALL)]:
        assert row["channel_sparsity"] == pytest.approx(0.488, abs=0.1), row["method"]
        assert row["ticket_step_flops"] < dense["ticket_step_flops"]
    for row in others[-len(SMALL) :]:
        assert row["kept"] == row["prunable"] < dense["prunable"]
        assert row["search_epochs"] == row["search_flops"] == 0


@pytest.mark.parametrize("scope", [{"components": ["generator"]}, {"ranking": "layerwise"}, {"exempt": ["decode.up1"]}])
def test_a_scope_says_which_weights_a_mask_is_of(scope: dict[str, Any], store: Store) -> None:
    trial = toy_trial("dcgan", methods=[{"name": "one_shot", "scope": scope}], sparsities=[0.5])
    run_all([trial], store)
    mask = results.mask(store.uri, trial.id)
    shares = {name: count / mask[name].numel() for name, count in mask.counts.items()}
    if "components" in scope:
        assert {name.split(".")[0] for name in mask} == {"generator"}
    if "ranking" in scope:
        assert set(shares.values()) == {0.5}
    if "exempt" in scope:
        assert not any(".up1." in name for name in mask)
    row = results.trials(store.uri).iloc[0]
    assert row["kept"] == round(row["prunable"] * 0.5)


def test_layers_that_a_mask_empties_are_named(store: Store) -> None:
    trial = toy_trial("dcgan", methods=["magnitude"], sparsities=[0.97])
    run_all([trial], store)
    row = results.trials(store.uri).iloc[0]
    emptied = [name for name, count in results.mask(store.uri, trial.id).counts.items() if not count]
    assert emptied
    assert row["layer_collapse"] == ", ".join(emptied)


def test_a_row_says_what_ties_decided(store: Store) -> None:
    model = EVERY_MODEL["conv_autoencoder"]
    run_all(toy_trials(models=[model], methods=["snip", "imp", "shuffle_layer"], sparsities=[0.2], epochs=2), store)
    shares = results.trials(store.uri).set_index("method")["tied_share"]
    assert 0.1 < shares["snip"] < 0.8  # dead units: no loss feels their weights
    assert shares["imp"] == 0
    assert math.isnan(shares["shuffle_layer"])  # nothing was ranked for it


def test_an_sngan_whose_mask_empties_kernels_is_trained_to_the_end(store: Store) -> None:
    trial = toy_trial("sngan", methods=["magnitude"], sparsities=[0.95], epochs=2)
    assert run_trial(trial, store) == "done"
    row = results.trials(store.uri).iloc[0]
    assert "discriminator.to_logit.conv.parametrizations.weight.original" in row["layer_collapse"].split(", ")
    assert math.isfinite(row["discriminator_loss"])


def test_what_a_search_costs_is_its_trainings_and_its_scores(store: Store) -> None:
    trials = toy_trials(models=[TOY_MODELS["dcgan"]], methods=["imp", "grasp"], sparsities=[0.36])
    run_all(trials, store)
    imp, grasp = (results.trials(store.uri).set_index("trial_id").loc[trial.id] for trial in trials)
    step, steps = imp["dense_step_flops"], 120 // 20
    assert imp["search_flops"] == imp["search_epochs"] * steps * step
    assert imp["ticket_flops"] == 3 * steps * step
    # Two first derivatives and a second one of the losses of 100 images, each of which takes up to two steps.
    assert 2 * step * 100 / 20 < grasp["search_flops"] < 6 * step * 100 / 20
    assert grasp["search_epochs"] == 0
    for row in (imp, grasp):
        assert row["search_cpu_seconds"] > 0
        assert row["ticket_cpu_seconds"] > 0
        assert row["peak_bytes"] > 1e7


def test_masks_of_imp_nest_over_the_rounds(store: Store) -> None:
    trials = toy_trials(sparsities={"rounds": 4})
    run_all(trials, store)
    masks = [results.mask(store.uri, trial.id) for trial in trials]
    for k, (larger, smaller) in enumerate(pairwise(masks), start=2):
        assert smaller & larger == smaller
        assert abs(smaller.kept - smaller.size * 0.8**k) <= 1


def test_a_finished_trial_run_again_trains_nothing(store: Store) -> None:
    trials = toy_trials(methods=ALL_METHODS)
    run_all(trials, store)
    assert run_all(trials, store).epochs == []


def test_one_more_sparsity_trains_the_missing_round_alone(store: Store) -> None:
    run_all(toy_trials(sparsities={"rounds": 3}), store)
    again = run_all(toy_trials(sparsities={"rounds": 4}), store)
    assert [epoch for _, epoch in again.epochs] == [2, 3, 4]


def test_one_more_sparsity_of_a_control_goes_on_from_the_rewind_point_of_the_first(store: Store) -> None:
    first = run_all(toy_trials(methods=["reinit"], sparsities=[0.2]), store)
    again = run_all(toy_trials(methods=["reinit"], sparsities=[0.2, 0.36]), store)
    assert not set(first.epochs) & set(again.epochs)


def test_one_more_seed_trains_that_seed_alone(store: Store) -> None:
    run_all(toy_trials(seeds=1), store)
    alone = run_all(toy_trials(seeds=[1]), open_store(store.uri + "-other"))
    assert run_all(toy_trials(seeds=2), store).epochs == alone.epochs


def test_another_evaluation_adds_a_row_and_trains_nothing(store: Store) -> None:
    run_all([toy_trial()], store)
    again = run_all([toy_trial(evaluation={"samples": 20, "grid": 0})], store)
    assert again.epochs == []
    rows = results.trials(store.uri)
    assert sorted(rows["samples"]) == [20, 50]
    assert rows["final_key"].nunique() == 1
    assert rows["evaluation_key"].nunique() == 2


@pytest.mark.parametrize("checkpoint_every", [{"epochs": 1}, {"epochs": 2}, {"minutes": 10}])
def test_killed_anywhere_it_ends_with_the_same_masks_and_repeats_nothing_committed(
    tmp_path: Path, checkpoint_every: dict[str, int]
) -> None:
    trials = toy_trials(methods=["imp", "shuffle_layer"], sparsities={"rounds": 2}, checkpoint_every=checkpoint_every)
    undisturbed, store = open_store(str(tmp_path / "a")), open_store(str(tmp_path / "b"))
    run_all(trials, undisturbed)
    chance = random.Random(0)
    kills: list[int | None] = [chance.randint(1, 4) for _ in range(8)]
    for epochs_left in [*kills, None]:
        committed = {(record.line, e.number) for record in Ledger(Objects(store)).all() for e in record.epochs}
        diary = Diary(stop_after=epochs_left)
        with nullcontext() if epochs_left is None else suppress(Killed):
            run_all(trials, store, diary)
        assert not committed & set(diary.epochs), "an epoch that was committed is trained again"
    assert packed(store, trials) == packed(undisturbed, trials)


def test_asked_to_stop_it_commits_the_epoch_it_is_in(store: Store) -> None:
    trial = toy_trial(checkpoint_every={"minutes": 60})
    first = Diary()
    with pytest.raises(Interrupted):
        run_trial(trial, store, None, first, stop=lambda: len(first.epochs) == 3)
    second = Diary()
    assert run_trial(trial, store, None, second) == "done"
    assert not set(first.epochs) & set(second.epochs)
    assert len(first.epochs) == 3


def test_checkpoints_are_gone_when_their_segment_is_done(store: Store) -> None:
    run_all([toy_trial(checkpoint_every={"epochs": 1})], store)
    assert [name for name in store.list(names.STATES) if name.endswith(".checkpoint")] == []


def test_a_checkpoint_that_became_a_point_is_gone_too(store: Store) -> None:
    longer = Diary()
    with pytest.raises(Interrupted):
        run_trial(toy_trial(epochs=10, rewind=0), store, None, longer, stop=lambda: len(longer.epochs) == 4)
    (shorter,) = toy_trials(methods=["dense"], epochs=4)
    assert run_all([shorter], store).epochs == []
    assert [name for name in store.list(names.STATES) if name.endswith(".checkpoint")] == []


def test_finished_ends_keep_no_moments_and_rewind_states_do(store: Store) -> None:
    trial = toy_trial()
    run_trial(trial, store)
    row = results.trials(store.uri).iloc[0]
    archive = Archive(store)

    def stored(key: str) -> set[str]:
        line, _, epoch = key.partition("@")
        point = archive.point(State(Line(line), int(epoch)), moments=False)
        assert point is not None
        return {name for name in point.tensors if name.startswith(MOMENTS)}

    assert stored(row["start_key"])
    assert not stored(row["final_key"])


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data + b"x"])
@pytest.mark.parametrize("kind", ["states", "masks", "evaluations"])
def test_a_damaged_object_is_made_again_and_nothing_crashes(
    kind: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    trials = toy_trials(sparsities=[0.36])
    run_all(trials, store)
    before = packed(store, trials)
    for path in (tmp_path / "store" / "objects" / kind).rglob("*"):
        if path.is_file():
            path.write_bytes(damage(path.read_bytes()))
    longer = toy_trials(sparsities=[0.36, 0.488])
    for name in list(store.list(names.TRIALS)):
        store.delete(name)
    run_all(longer, store)
    assert packed(store, trials) == before
    assert (results.trials(store.uri)["status"] == "done").all()


def test_a_recipe_that_diverges_is_a_result(store: Store) -> None:
    trial = toy_trial(recipe={"batch": 20, "lr": 1e30})
    assert run_trial(trial, store) == "diverged"
    row = results.trials(store.uri).iloc[0]
    assert row["status"] == "diverged"
    assert "Diverged" in row["error"]


def test_a_failed_stage_ends_all_trials_that_need_it_naming_it(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    faulty = {"name": "faulty", "broken": str(broken)}
    trials = toy_trials(models=[faulty], methods=["imp", "one_shot"], sparsities=[0.2, 0.36])
    run_all(trials, store)
    rows = results.trials(store.uri)
    assert len(rows) == 4
    assert set(rows["status"]) == {"failed"}
    (failure,) = store.list("failures")  # the one stage that was tried; the other trials ended by its record
    assert rows["error"].str.contains(Path(failure).stem[:12]).all()
    assert "RuntimeError: out of ink" in rows["error"][0]
    assert "out of ink" in rows["traceback"][0]


def test_reports_tell_the_course_of_a_trial(store: Store) -> None:
    trial = toy_trial(sparsities=[0.2])
    diary = run_all([trial], store)
    assert diary.reports[0] == TrialStarted(trial.id)
    assert diary.reports[-1] == TrialEnded(trial.id, "done")
    assert [epoch for _, epoch in diary.epochs] == [1, 2, 3, 4, 2, 3, 4]


def test_a_running_trial_shows_a_sign_of_life(store: Store) -> None:
    trial = toy_trial()
    seen: list[set[str]] = []
    run_trial(trial, store, None, lambda report: seen.append(set(running(store))))
    assert {trial.id} in seen
    assert running(store) == {}


def test_cost_is_counted_as_if_nothing_were_shared(store: Store) -> None:
    run_all(toy_trials(methods=ALL_METHODS, sparsities=[sparsity_after(2)]), store)
    rows = results.trials(store.uri).set_index("method")
    epochs = {m: (rows.loc[m, "search_epochs"], rows.loc[m, "ticket_epochs"]) for m in ALL_METHODS}
    # 4 epochs dense, then 3 for each round after the rewind epoch
    assert epochs == {"dense": (0, 4), "imp": (7, 3), "one_shot": (4, 3), "reinit": (7, 4), "shuffle_layer": (7, 3)}
    assert (rows["ticket_seconds"] > 0).all()
    assert rows.loc["dense", "search_seconds"] == 0
    history: Any = results.history(store.uri)
    seconds = history[history["quantity"] == "seconds"].groupby(["trial_id", "ticket"])["value"].sum()
    for _, row in rows.iterrows():
        assert seconds[row["trial_id"], True] == pytest.approx(row["ticket_seconds"])


def test_history_has_every_epoch_of_every_trajectory(store: Store) -> None:
    run_all([toy_trial(sparsities=[0.36])], store)
    history = results.history(store.uri)
    losses = history[history["quantity"] == "reconstruction_mse"]
    assert losses.groupby("position")["epoch"].apply(list).to_dict() == {0: [1, 2, 3, 4], 1: [2, 3, 4], 2: [2, 3, 4]}
    assert losses.groupby("position")["ticket"].all().to_dict() == {0: False, 1: False, 2: True}


def test_a_store_that_cannot_be_written_is_no_failure_of_a_stage(store: Store, tmp_path: Path) -> None:
    trial = toy_trial()
    (tmp_path / "store").mkdir()
    blocker = tmp_path / "store" / "objects"
    blocker.touch()
    with pytest.raises(StoreError):
        run_trial(trial, store)
    blocker.unlink()
    assert run_trial(trial, store) == "done"


def test_a_recorded_failure_ends_later_trials_without_another_try(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    first, second = toy_trials(models=[{"name": "faulty", "broken": str(broken)}], sparsities=[0.2, 0.36])
    assert run_trial(first, store) == "failed"
    broken.unlink()
    diary = Diary()
    assert run_trial(second, store, None, diary) == "failed"
    assert diary.epochs == []


def test_checkpoints_stay_until_the_end_of_their_segment_is_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, first, second = toy_trial(sparsities=[0.2], checkpoint_every={"epochs": 1}), Diary(), Diary()
    commit = Archive.commit_point

    def dies(self: Archive, state: State, kept: str, point: Point) -> None:
        if state.epoch == 4 and kept != CHECKPOINT:
            raise Killed
        commit(self, state, kept, point)

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "commit_point", dies)
        with pytest.raises(Killed):
            run_trial(trial, store, None, first)
    run_trial(trial, store, None, second)
    assert set(first.epochs) & set(second.epochs) == {first.epochs[-1]}


def test_history_is_whole_where_training_was_cut_by_checkpoints(store: Store) -> None:
    run_all([toy_trial(sparsities=[0.2], checkpoint_every={"epochs": 1})], store)
    history = results.history(store.uri)
    losses = history[history["quantity"] == "reconstruction_mse"]
    assert losses.groupby("position")["epoch"].apply(list).to_dict() == {0: [1, 2, 3, 4], 1: [2, 3, 4]}


def test_the_row_of_a_trial_is_written_after_all_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = LocalStore.put_if_absent
    monkeypatch.setattr(LocalStore, "put_if_absent", lambda self, n, d: written.append(n) or put(self, n, d))
    run_trial(toy_trial(sparsities=[0.2]), store)
    folders = [name.split("/")[0] for name in written]
    assert folders.index(names.TRIALS) > max(folders.index(names.HISTORY), folders.index(names.MASKS))


def test_an_exported_small_network_says_how_wide_it_is(store: Store, tmp_path: Path) -> None:
    (trial,) = toy_trials(models=[{**TOY_MODELS["dcgan"], "width": 4}], methods=["small_dense"], sparsities=[0.7])
    run_all([trial], store)
    start = results.trials(store.uri)["start_key"][0]
    export_ticket(store, trial, start, results.mask(store.uri, trial.id), tmp_path / "ticket.safetensors")
    with safe_open(tmp_path / "ticket.safetensors", "pt") as ticket:
        spec = models.parse(json.loads(ticket.metadata()["model"]))
        tensors = {name: ticket.get_tensor(name) for name in ticket.keys() if not name.startswith("mask/")}  # noqa: SIM118
    assert spec.width < 4
    build(spec, (1, 32, 32)).networks.load_state_dict(tensors, assign=True)
