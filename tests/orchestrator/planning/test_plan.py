"""Plans: what they count is what running does."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import results
from orchestrator.execution.executor import InProcess
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import Plan, kept_bytes, make_plan
from orchestrator.planning.work import Work
from orchestrator.pricing.estimate import Estimate, estimate
from search_spaces.errors import TombolaError
from tests.toys import TOY_MODELS, toy_sweep, toy_trials
from workers import data
from workers.archive.failures import Failure
from workers.archive.states import Archive
from workers.lab.points import FULL, WEIGHTS
from workers.lab.stages import Emerge, Train
from workers.profiles.profile import UNKNOWN
from workers.reports import EpochTrained, Report
from workers.store import names
from workers.store.backends import Store

EVERYTHING: dict[str, Any] = {
    "models": list(TOY_MODELS.values()),
    "methods": ["dense", "imp", "one_shot", "reinit", {"name": "shuffle_layer", "of": "one_shot"}],
    "sparsities": [{"rounds": 2}, 0.5],
    "epochs": 3,
}


def work_of(plan: Plan, store: Store) -> Work:
    return Work(plan, {planned.trial.id for planned in plan.trials}, take_inventory(plan, store))


def execute(plan: Plan, store: Store) -> list[tuple[str, int]]:
    epochs: list[tuple[str, int]] = []

    def listen(report: Report) -> None:
        if isinstance(report, EpochTrained):
            epochs.append((report.line, report.epoch))

    InProcess().run(work_of(plan, store), store, listen, lambda: False)
    return epochs


def test_executed_epochs_are_the_planned_distinct_epochs(store: Store) -> None:
    plan = make_plan(toy_trials(**EVERYTHING))
    assert take_inventory(plan, store).missing == plan.epochs
    executed = execute(plan, store)
    assert len(executed) == len(set(executed)) == plan.epochs
    after = take_inventory(plan, store)
    assert after.missing == 0
    assert after.held == set(plan.stages)


def test_a_plan_counts_only_what_a_store_lacks(store: Store) -> None:
    execute(make_plan(toy_trials(sparsities={"rounds": 2})), store)
    grown = make_plan(toy_trials(sparsities={"rounds": 4}))
    missing = take_inventory(grown, store).missing
    assert missing == 2 * 3
    assert len(execute(grown, store)) == missing


EARLY = {"name": "early_bird", "look_back": 2, "delta": 0.9}
CHANNELS: dict[str, Any] = {"models": [{**TOY_MODELS["dcgan"], "width": 4}], "sparsities": [0.3, 0.5], "epochs": 6}


def test_where_masks_emerge_a_plan_says_the_least_and_the_most_epochs() -> None:
    alone = make_plan(toy_trials(**CHANNELS, methods=[EARLY]))
    # The dense line to epoch 2 to 5, and two tickets from there to epoch 6, or none if no mask emerges
    assert (alone.least_epochs, alone.epochs) == (2, 5 + 2 * 4)
    assert alone.critical_path() == 5 + 4
    shared = make_plan(toy_trials(**CHANNELS, methods=["dense", EARLY, {"name": "reinit", "of": EARLY}]))
    assert (shared.least_epochs, shared.epochs) == (6, 6 + 2 * 4 + 2 * 6)
    plain = make_plan(toy_trials(**CHANNELS, methods=["dense", "one_shot"]))
    assert plain.least_epochs == plain.epochs


@pytest.mark.parametrize("methods", [[EARLY], ["dense", EARLY], [EARLY, {**EARLY, "start": "rewind"}, "imp"]])
def test_executed_epochs_lie_within_the_bounds_of_the_plan(methods: list[Any], store: Store) -> None:
    plan = make_plan(toy_trials(**CHANNELS, methods=methods))
    assert take_inventory(plan, store).missing == plan.epochs
    executed = execute(plan, store)
    assert len(executed) == len(set(executed))
    assert plan.least_epochs <= len(executed) <= plan.epochs
    after = take_inventory(plan, store)
    assert after.missing == 0
    assert after.held == set(plan.stages)


def test_where_no_mask_emerges_fewer_epochs_are_trained_than_for_a_ticket(store: Store) -> None:
    never = {**EARLY, "delta": 0.0, "max_search_epochs": 2}
    plan = make_plan(toy_trials(**CHANNELS, methods=[never]))
    assert plan.least_epochs <= len(execute(plan, store)) == 2


def test_once_a_mask_has_emerged_the_rest_of_the_ticket_is_missing(store: Store) -> None:
    plan = make_plan(toy_trials(**{**CHANNELS, "sparsities": [0.3]}, methods=[{**EARLY, "look_back": 3}]))
    execute(plan, store)
    ends = [stage for stage in plan.stages.values() if isinstance(stage, Train)]
    for name in [name for name in store.list(names.STATES) if ends[-1].line.key in name]:
        store.delete(name)
    (emerge,) = (stage for stage in plan.stages.values() if isinstance(stage, Emerge))
    fact = Archive(store).pruning(emerge.key)
    assert fact is not None
    assert take_inventory(plan, store).missing == 6 - fact["epoch"]


def test_a_failed_line_stands_in_the_way_of_the_masks_that_emerge_on_it(store: Store) -> None:
    work = work_of(make_plan(toy_trials(**CHANNELS, methods=["imp", EARLY])), store)
    emerging = [stage for stage in work.plan.stages.values() if isinstance(stage, Emerge)]
    line = emerging[0].line.key
    assert work.failed(Failure(line, "train", "diverged", "", epoch=3)) == [f"{line}@6", *(s.key for s in emerging)]


@pytest.mark.parametrize("every", [1, 2])
def test_epochs_before_emergence_are_no_candidates_and_do_not_stay_missing(every: int, store: Store) -> None:
    selection = {"every": every, "samples": 40}
    models = [{**TOY_MODELS["vae"], "width": 4}]
    early = {**EARLY, "look_back": 3, "delta": 0.2}
    trials = toy_trials(**{**CHANNELS, "models": models}, methods=[early], evaluation={"selection": selection})
    plan = make_plan(trials)
    execute(plan, store)
    after = take_inventory(plan, store)
    assert after.held == set(plan.stages)
    assert after.missing == 0
    scores = results.scores(store.uri)
    for row in results.trials(store.uri).itertuples():
        measured = scores[(scores["trial_id"] == row.trial_id) & (scores["images"] == "selection")]
        assert min(measured["epoch"]) > row.emergence_epoch
        assert len(set(measured["epoch"])) == len({e for e in range(every, 6, every) if e > row.emergence_epoch} | {6})


def test_masks_emerge_on_a_line_one_after_the_other_and_after_its_points(store: Store) -> None:
    work = work_of(make_plan(toy_trials(**CHANNELS, methods=["imp", EARLY])), store)
    first, second = (stage for stage in work.plan.stages.values() if isinstance(stage, Emerge))
    line = first.line.key
    assert work.reached(first.key) == [f"{line}@1", f"{line}@6", first.key]
    assert work.reached(second.key) == [f"{line}@1", f"{line}@6", first.key, second.key]


def test_what_was_trained_before_masks_were_looked_for_counts_as_missing(store: Store) -> None:
    execute(make_plan(toy_trials(**CHANNELS, methods=["dense"])), store)
    plan = make_plan(toy_trials(**CHANNELS, methods=["dense", EARLY]))
    assert take_inventory(plan, store).missing == 5 + 2 * 4
    assert len(execute(plan, store)) <= 5 + 2 * 4


def test_the_three_counts_of_epochs() -> None:
    plan = make_plan(toy_trials(methods=["imp", "reinit"], sparsities={"rounds": 3}))
    # 4 epochs dense, 3 a round from the rewind epoch on; reinit trains its fresh weights for 4
    imp, reinit = [4 + 3 * k for k in (1, 2, 3)], [4 + 3 * (k - 1) + 4 for k in (1, 2, 3)]
    assert plan.epochs_alone == sum(imp) + sum(reinit)
    assert plan.epochs_chained == imp[-1] + (4 + 3 * 2 + 4 * 3)
    assert plan.epochs == 4 + 3 * 3 + 4 * 3


def test_sharing_pays_as_the_design_says() -> None:
    plan = make_plan(toy_trials(sparsities={"rounds": 20}, epochs=10, rewind=0))
    assert plan.epochs_alone == sum(10 * (k + 1) for k in range(1, 21))  # 230 trainings
    assert plan.epochs == 10 * 21


def test_the_critical_path_is_the_longest_chain() -> None:
    plan = make_plan(toy_trials(methods=["imp", "reinit"], sparsities={"rounds": 3}, seeds=5))
    assert plan.critical_path() == 4 + 3 * 2 + 4  # dense, two rounds, and the third mask on fresh weights
    assert plan.critical_path(dict.fromkeys(plan.lines, 2.0)) == 2 * plan.critical_path()


def test_trials_come_longest_first() -> None:
    epochs = [planned.epochs for planned in make_plan(toy_trials(**EVERYTHING)).trials]
    assert epochs == sorted(epochs, reverse=True)


def test_points_are_kept_in_full_where_training_goes_on() -> None:
    plan = make_plan(toy_trials(methods=["imp"], sparsities=[0.2]))
    kept = sorted(tuple(sorted(points.items())) for points in plan.points.values())
    assert kept == [((1, FULL), (4, WEIGHTS)), ((4, WEIGHTS),)]


def estimated(plan: Plan, store: Store) -> Estimate:
    return estimate(plan, store, InProcess().profiles(plan.models, store))


def test_stages_come_after_what_they_need() -> None:
    plan = make_plan(toy_trials(**EVERYTHING))
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert set(stage.needs) <= seen, stage
        seen.add(key)


def test_the_bytes_that_a_plan_prints_are_the_bytes_that_are_kept(store: Store) -> None:
    plan = make_plan(toy_trials(**EVERYTHING))
    expected = estimated(plan, store).bytes_kept
    execute(plan, store)
    kept = [name for folder in ("objects/states", "objects/masks") for name in store.list(folder)]
    actual = sum(len(store.get(name) or b"") for name in kept)
    overhead = 6000 * len(kept)  # headers, which toy networks do not make up for
    assert expected <= actual <= expected + overhead


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": {"batch": 121}}, "recipe.batch: 121 is more than the 120 training images of toy_digits"),
        ({"evaluation": {"samples": 101}}, "evaluation.samples: 101 is more than the 100 held-out images"),
    ],
)
def test_a_trial_that_asks_for_more_images_than_there_are_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TombolaError, match=message):
        make_plan(toy_trials(**change))


def test_planning_and_reading_results_load_no_torch(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(toy_sweep(plugins=[], datasets=["digits"])))
    code = f"""
import sys
from contextlib import suppress
from orchestrator import cli, results, sweeps
from workers.store.backends import StoreError
store = {str(tmp_path / "store")!r}
sys.argv = ["tombola", "plan", {str(tmp_path / "sweep.yaml")!r}, "--store", store]
with suppress(SystemExit):
    cli.main()
with suppress(StoreError):
    results.trials(store)
assert "torch" not in sys.modules
"""
    planned = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "FLOPs of training" in planned.stdout


def test_points_that_only_a_later_trial_needs_are_kept_by_the_first(store: Store) -> None:
    plan = make_plan(toy_trials(methods=[{"name": "imp", "rewind": 0}, {"name": "one_shot", "rewind": 2}]))
    assert len(execute(plan, store)) == plan.epochs


def test_an_end_without_moments_is_no_point_to_go_on_from(store: Store) -> None:
    execute(make_plan(toy_trials(methods=["dense"], epochs=4)), store)
    grown = make_plan(toy_trials(sparsities=[0.2], epochs=6, rewind=4))
    inventory = take_inventory(grown, store)
    assert inventory.missing == 6 + 2
    assert not any(key.endswith("@4") for key in inventory.held)
    assert len(execute(grown, store)) == 6 + 2


def test_states_are_counted_as_they_are_kept() -> None:
    plan = make_plan(toy_trials(sparsities=[0.2]))
    sizes = {planned.trial.id: (1000, 100, 0) for planned in plan.trials}
    assert kept_bytes(plan, sizes) == 100 + 1000 + 100 + 100  # initial, rewind in full, two ends


def test_hours_are_those_of_the_missing_epochs_and_of_the_longest_chain(store: Store) -> None:
    execute(make_plan(toy_trials(sparsities=[0.2])), store)
    plan = make_plan(toy_trials(sparsities=[0.2, 0.36], seeds=2))
    figures = estimate(plan, store, {trial.id: replace(UNKNOWN, epoch_seconds=1800.0) for trial in plan.models})
    assert figures.epochs_missing == 3 + 10
    assert figures.hours == pytest.approx(13 / 2)
    assert figures.critical_path_hours == pytest.approx(10 / 2)


def test_hours_count_measuring_and_what_measures_until_it_is_done(store: Store) -> None:
    rates = {"image_seconds": 1.0, "sample_seconds": 2.0, "feature_seconds": 3.0, "generators": 1}
    fixed = {"frechet_seconds": 50.0, "pair_seconds": 0.5, "stage_seconds": 0.25, "trial_seconds": 7.0}
    profile = replace(UNKNOWN, **rates, **fixed, fit_seconds={"fashion": 100.0})  # type: ignore[arg-type]
    evaluation = {"samples": 40, "grid": 3, "distances": {"features": "fashion", "samples": 60, "weights": "ab" * 32}}
    trials = toy_trials(models=[TOY_MODELS["vae"]], methods=["dense"], seeds=2, evaluation=evaluation)
    plan = make_plan(trials, data.card_or_nominal)
    figures = estimate(plan, store, {trial.id: profile for trial in plan.models})
    evaluate = 40 * 1 + 9 * 2 + 60 * (2 + 3) + 50 + 60**2 * 0.5
    measuring = 100 + 60 * 3 + 2 * evaluate + 4 * 0.25
    assert figures.measuring_hours == pytest.approx(measuring / 3600)
    others = 2 * 2 * 0.25 + 2 * 7  # of each trial its first weights, its training and its rows
    assert figures.hours == pytest.approx((measuring + others) / 3600)
    path = 0.25 + 100 + 0.25 + 180 + 0.25 + evaluate
    assert figures.critical_path_hours == pytest.approx(path / 3600)


def test_what_is_measured_already_is_not_priced(store: Store) -> None:
    plan = make_plan(toy_trials(methods=["dense"]))
    before = estimated(plan, store)
    assert before.measuring_hours
    execute(plan, store)
    after = estimated(plan, store)
    assert (after.hours, after.measuring_hours) == (0, 0)
    other = {"samples": 60}
    again = estimated(make_plan(toy_trials(methods=["dense"], evaluation=other)), store)
    assert again.epochs_missing == 0
    assert again.hours is not None
    assert again.measuring_hours is not None
    assert again.hours > again.measuring_hours > 0
