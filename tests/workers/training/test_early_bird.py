"""Early-bird trials: a mask that emerges on a line that others may train, too."""

import random
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from orchestrator import results
from orchestrator.planning.plan import make_plan
from search_spaces.trial import Trial
from tests.toys import toy_trial, toy_trials
from tests.workers.test_trial import Diary, Killed, packed, run_all, wanted
from workers.archive.ledger import Ledger
from workers.lab.points import FULL
from workers.store import names
from workers.store.backends import Store, open_store
from workers.store.objects import Objects
from workers.tickets.export import export_ticket
from workers.trial import run_trial

EARLY = {"name": "early_bird", "look_back": 2, "delta": 0.3}
MODEL = {"name": "dcgan", "width": 4, "latent": 3}


def trials_of(
    *methods: Any, sparsities: Sequence[float] = (0.5,), epochs: int = 6, **changes: Any
) -> tuple[Trial, ...]:
    return toy_trials(
        models=[MODEL], methods=list(methods), sparsities=list(sparsities), epochs=epochs, rewind=1, **changes
    )


def row_of(store: Store, trial: Trial) -> Any:
    rows = results.trials(store.uri)
    return rows[rows["trial_id"] == trial.id].iloc[0]


def test_the_dense_line_is_trained_to_where_the_mask_emerges_and_the_ticket_from_there(store: Store) -> None:
    (trial,) = trials_of(EARLY)
    diary = run_all([trial], store)
    row = row_of(store, trial)
    emerged = row["emergence_epoch"]
    assert [epoch for _, epoch in diary.epochs] == list(range(1, 7))
    assert len({line for line, epoch in diary.epochs if epoch <= emerged}) == 1
    assert len({line for line, _ in diary.epochs}) == 2
    assert (row["search_epochs"], row["ticket_epochs"]) == (emerged, 6 - emerged)
    assert 2 <= emerged <= 5


def test_it_shares_its_dense_line_with_imp_and_nothing_is_trained_twice(store: Store) -> None:
    trials = trials_of("imp", EARLY, sparsities=[0.3, 0.5, 0.7])
    diary = run_all(trials, store)
    assert len(diary.epochs) == len(set(diary.epochs))
    rows = results.trials(store.uri)
    assert (rows["status"] == "done").all()
    history: Any = results.history(store.uri)
    first = history[history["position"] == 0].groupby("trial_id")["line"].first()
    assert first.nunique() == 1


@pytest.mark.parametrize("order", [1, -1])
def test_several_sparsities_train_their_dense_line_once(order: int, store: Store) -> None:
    trials = trials_of(EARLY, sparsities=[0.2, 0.4, 0.6, 0.8])[::order]
    diary = run_all(trials, store)
    assert len(diary.epochs) == len(set(diary.epochs))
    plan = make_plan(trials)
    assert plan.least_epochs <= len(diary.epochs) <= plan.epochs


def test_who_trains_the_line_makes_no_difference_to_the_mask(tmp_path: Path) -> None:
    alone, together = open_store(str(tmp_path / "alone")), open_store(str(tmp_path / "together"))
    (trial,) = trials_of(EARLY)
    run_all([trial], alone)
    run_all(trials_of("dense", "imp", EARLY), together)
    assert packed(alone, [trial]) == packed(together, [trial])
    assert row_of(alone, trial)["final_key"] == row_of(together, trial)["final_key"]


def test_added_to_a_finished_sweep_it_trains_again_only_what_was_not_looked_at(store: Store) -> None:
    first = run_all(trials_of("imp"), store)
    (trial,) = trials_of(EARLY)
    again = run_all(trials_of("imp", EARLY), store)
    emerged = row_of(store, trial)["emergence_epoch"]
    assert len(set(first.epochs) & set(again.epochs)) <= emerged
    assert len(again.epochs) == 6, "the epochs up to emergence, and those of the ticket"


@pytest.mark.slow
@pytest.mark.parametrize("methods", [[EARLY], ["imp", EARLY]])
def test_killed_anywhere_it_ends_with_the_same_masks(methods: list[Any], tmp_path: Path) -> None:
    trials = trials_of(*methods, sparsities=[0.4, 0.6], checkpoint_every={"epochs": 2})
    undisturbed, store = open_store(str(tmp_path / "a")), open_store(str(tmp_path / "b"))
    run_all(trials, undisturbed)
    chance = random.Random(0)
    for epochs_left in [*(chance.randint(1, 4) for _ in range(8)), None]:
        committed = {(record.line, e.number) for record in Ledger(Objects(store)).all() for e in record.epochs}
        diary = Diary(stop_after=epochs_left)
        with nullcontext() if epochs_left is None else suppress(Killed):
            run_all(trials, store, diary)
        assert not committed & set(diary.epochs), "an epoch that was committed is trained again"
    assert packed(store, trials) == packed(undisturbed, trials)


def test_where_no_mask_comes_to_rest_the_trial_ends_saying_how_near_it_was(store: Store) -> None:
    (trial,) = trials_of({**EARLY, "delta": 0.0, "max_search_epochs": 3}, recipe={"batch": 20, "lr": 0.05})
    assert run_trial(trial, store) == "no_ticket"
    row = row_of(store, trial)
    assert row["status"] == "no_ticket"
    assert "no mask came to rest in 3 epochs" in row["error"]
    diary = Diary()
    assert run_trial(trial, store, None, diary) == "no_ticket"
    assert diary.epochs == []


@pytest.mark.parametrize("others", [[], ["imp"]])
def test_a_search_in_vain_leaves_its_distances_and_what_it_cost(others: list[str], store: Store) -> None:
    trials = trials_of(*others, {**EARLY, "delta": 0.0, "max_search_epochs": 4})
    run_all(trials, store)
    row = row_of(store, trials[-1])
    assert row["status"] == "no_ticket"
    assert row["search_epochs"] == 4
    assert row["search_flops"] > 0
    assert row["search_seconds"] > 0
    history: Any = results.history(store.uri).query("trial_id == @row.trial_id")
    distances = history[history["quantity"].str.startswith("distance_from_")]
    assert len(distances) == 4 * 3 / 2
    assert sorted(history[history["quantity"] == "seconds"]["epoch"]) == [1, 2, 3, 4]


def test_one_that_cannot_be_scored_is_the_only_one_to_fail(store: Store) -> None:
    methods = ["dense", "imp", {"name": "early_bird", "look_back": 2}]
    trials = toy_trials(methods=methods, sparsities=[0.5])  # an autoencoder without batch norm
    diary = run_all(trials[::-1], store)
    rows = results.trials(store.uri).set_index("method")
    assert rows["status"].to_dict() == {"dense": "done", "imp": "done", "early_bird": "failed"}
    assert len(diary.epochs) == 4 + 4 * 3


def test_a_search_that_goes_on_longer_finds_what_a_shorter_one_did_not(store: Store) -> None:
    late = {**EARLY, "look_back": 3, "delta": 0.12}
    (long,) = trials_of(late, epochs=8)
    run_all([long], store)
    emerged = int(row_of(store, long)["emergence_epoch"])
    assert emerged > 3
    other = open_store(store.uri + "-other")
    (short,) = trials_of({**late, "max_search_epochs": emerged - 1}, epochs=8)
    for place in (store, other):
        assert run_trial(short, place) == "no_ticket"
    diary = Diary()
    assert run_trial(long, other, None, diary) == "done"
    assert row_of(other, long)["mask_key"] == row_of(store, long)["mask_key"]
    assert {epoch for _, epoch in diary.epochs} >= set(range(emerged, 9))


def test_growing_a_sweep_searches_no_mask_again(store: Store) -> None:
    (first,) = trials_of(EARLY, epochs=6)
    run_all([first], store)
    emerged = int(row_of(store, first)["emergence_epoch"])
    grown = run_all(trials_of(EARLY, epochs=8), store)
    assert {epoch for _, epoch in grown.epochs} == set(range(emerged + 1, 9))


def test_with_start_rewind_the_ticket_starts_at_the_rewind_epoch(store: Store) -> None:
    (trial,) = trials_of({**EARLY, "start": "rewind"})
    diary = run_all([trial], store)
    row = row_of(store, trial)
    assert row["start_key"].endswith("@1")
    assert row["ticket_epochs"] == 5
    assert len(diary.epochs) == row["emergence_epoch"] + 5


def test_a_lost_emergence_state_is_made_again(store: Store) -> None:
    (trial, longer) = (*trials_of(EARLY), *trials_of({**EARLY, "max_search_epochs": 5}, epochs=8))
    run_all([trial], store)
    for name in list(store.list(names.STATES)):
        store.delete(name)
    run_all([longer, trial], store)
    store.delete(next(iter(name for name in store.list(names.TRIALS) if trial.id in name)))
    assert run_trial(trial, store) == "done"


def test_every_distance_between_masks_is_in_the_history(store: Store) -> None:
    (trial,) = trials_of({**EARLY, "look_back": 3})
    run_all([trial], store)
    emerged = row_of(store, trial)["emergence_epoch"]
    history: Any = results.history(store.uri)
    distances = history[history["quantity"].str.startswith("distance_from_")]
    pairs = {(row.epoch, int(row.quantity.removeprefix("distance_from_"))) for row in distances.itertuples()}
    assert pairs == {(epoch, earlier) for epoch in range(2, emerged + 1) for earlier in range(1, epoch)}
    newest = distances[(distances["epoch"] == emerged)].set_index("quantity")["value"]
    assert (newest[[f"distance_from_{emerged - 1}", f"distance_from_{emerged - 2}"]] <= 0.3).all()


def test_a_ticket_of_channels_costs_what_it_executes(store: Store) -> None:
    early, dense = trials_of(EARLY, "dense", sparsities=[0.5])
    run_all([early, dense], store)
    row, whole = row_of(store, early), row_of(store, dense)
    assert row["channel_sparsity"] == 0.5
    assert row["ticket_step_flops"] == row["sparse_step_flops"] < 0.5 * whole["ticket_step_flops"]
    steps = 120 // 20
    assert row["search_flops"] == row["search_epochs"] * steps * whole["dense_step_flops"]
    assert row["ticket_flops"] == row["ticket_epochs"] * steps * row["ticket_step_flops"]
    assert row["parameters_kept"] < row["parameters"] - (row["prunable"] - row["kept"]) + 1
    assert row["scored_by"] == "gamma"


def test_a_penalty_on_scales_is_searched_on_a_line_of_its_own(store: Store) -> None:
    run_all(trials_of(EARLY, {**EARLY, "l1": 1e-2}), store)
    rows = results.trials(store.uri)
    assert rows["final_key"].nunique() == 2
    history: Any = results.history(store.uri)
    assert history[history["position"] == 0].groupby("trial_id")["line"].first().nunique() == 2


def test_masks_of_weights_may_emerge_too(store: Store) -> None:
    (trial,) = trials_of({**EARLY, "masks": "weights"})
    run_all([trial], store)
    row = row_of(store, trial)
    assert row["kept"] == round(row["prunable"] * 0.5)
    assert row["scored_by"] == "magnitude"


def test_a_network_without_batch_norm_needs_the_fallback_by_name(store: Store) -> None:
    refused = toy_trial(methods=[EARLY], sparsities=[0.5])
    assert run_trial(refused, store) == "failed"
    assert "fallback: filter_norm" in row_of(store, refused)["error"]
    allowed = toy_trial(methods=[{**EARLY, "fallback": "filter_norm"}], sparsities=[0.5])
    assert run_trial(allowed, store) == "done"
    assert row_of(store, allowed)["scored_by"] == "filter_norm"


def test_what_emerges_is_wanted_by_the_whole_plan() -> None:
    trials = trials_of("imp", EARLY, sparsities=[0.3, 0.5])
    (emerging,) = wanted(trials).emerging.values()
    assert sorted(stage.density for stage in emerging) == [0.5, 0.7]
    assert list(wanted(trials).points_before(emerging[0])) == [1, 6]


def test_an_early_bird_ticket_is_exported_with_the_weights_that_it_starts_from(store: Store, tmp_path: Path) -> None:
    (trial,) = trials_of(EARLY)
    run_all([trial], store)
    row = row_of(store, trial)
    for lost in (False, True):
        if lost:
            line, _, epoch = row["start_key"].partition("@")
            store.delete(names.state(line, int(epoch), FULL))
        export_ticket(
            store, trial, row["start_key"], results.mask(store.uri, trial.id), tmp_path / f"{lost}.safetensors"
        )
    tickets = [load_file(tmp_path / f"{lost}.safetensors") for lost in (False, True)]
    assert tickets[0].keys() == tickets[1].keys()
    assert all(tickets[0][name].equal(tickets[1][name]) for name in tickets[0])
