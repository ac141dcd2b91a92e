"""Where tickets come from: ids, queries and fields, found in a real store."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator import results, sweeps
from orchestrator.planning.plan import make_plan
from orchestrator.planning.sources import SourceError, frozen, remember, resolved
from orchestrator.sweeps import record, standing
from search_spaces.sweep import Sweep
from search_spaces.transfer import Transfer
from search_spaces.trial import Trial
from tests.toys import toy_sweep, toy_trials
from workers.rows.schema import fingerprints, write_unsuccessful
from workers.settling.codes import Codes
from workers.store import names
from workers.store.backends import Store, open_store
from workers.trial import run_trial

VAE = {"name": "vae", "width": 2, "latent": 3}
DCGAN = {"name": "dcgan", "width": 2, "latent": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with VAE tickets of two sparsities and two seeds, one that failed, and dense networks."""
    store = open_store(str(tmp_path_factory.mktemp("sources")))
    trials = toy_trials(models=[VAE], methods=["dense", "imp"], sparsities=[0.36, 0.488], seeds=2)
    plan = make_plan(trials)
    for planned in plan.trials:
        run_trial(planned.trial, store, plan.wanted)
    assert run_trial(failing(), store) == "failed"
    return store


def failing() -> Trial:
    broken = {"name": "faulty", "width": 2, "broken": str(Path(__file__))}
    (trial,) = toy_trials(models=[broken], sparsities=[0.488])
    return trial


def sweep(source: dict[str, Any], **changes: Any) -> Sweep:
    transfer = {"name": "transfer", "source": source}
    return Sweep.model_validate(
        toy_sweep(**{"models": [DCGAN], "methods": [transfer], "sparsities": [0.488], **changes})
    )


def source_of(trial: Trial) -> Trial:
    assert isinstance(trial.finder, Transfer)
    assert trial.finder.source.trial is not None
    return trial.finder.source.trial


def taken(source: dict[str, Any], store: Store, **changes: Any) -> list[Trial]:
    return [source_of(trial) for trial in resolved(frozen(sweep(source, **changes), store).trials(), store)]


def ids(store: Store, where: str) -> list[str]:
    return list(results.trials(store.uri).query(where)["trial_id"])


def test_a_trial_is_named_by_its_id(store: Store) -> None:
    (wanted,) = ids(store, "method == 'imp' and seed_init == 1 and sparsity < 0.4")
    assert [trial.id for trial in taken({"trial_id": wanted}, store, sparsities=[0.36])] == [wanted]


def test_a_query_means_the_ticket_of_the_takers_sparsity_and_seed(store: Store) -> None:
    found = taken({"query": "model == 'vae' and sparsity > 0.3"}, store, sparsities=[0.36, 0.488], seeds=2)
    assert [(t.sparsity, t.seed.init) for t in found] == [(0.36, 0), (0.36, 1), (0.488, 0), (0.488, 1)]


def test_what_a_query_found_when_it_was_run_first_is_what_it_means(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (first, second) = toy_trials(models=[VAE], sparsities=[0.488], seeds=2)
    asked = sweep({"query": "model == 'vae'"})
    run_trial(first, store)
    assert [t.id for t in taken({"query": "model == 'vae'"}, store)] == [first.id]
    remember(asked, store)
    run_trial(second, store)
    (method,) = frozen(asked, store).methods
    assert isinstance(method, Transfer)
    assert method.source.trial_id == (first.id,)


def test_what_a_query_found_is_written_down(store: Store) -> None:
    written = Sweep.model_validate(frozen(sweep({"query": "model == 'vae'"}), store).model_dump())
    (method,) = written.methods
    assert isinstance(method, Transfer)
    assert sorted(method.source.trial_id or ()) == sorted(ids(store, "method == 'imp' and status == 'done'"))
    assert [source_of(trial) for trial in resolved(written.trials(), store)] == taken(
        {"query": "model == 'vae'"}, store
    )


def test_named_by_fields_or_by_id_it_is_the_same_transfer(store: Store) -> None:
    (wanted,) = ids(store, "model == 'vae' and method == 'imp' and seed_init == 0 and sparsity > 0.4")
    (by_id,) = resolved(sweep({"trial_id": wanted}).trials(), store)
    (by_fields,) = sweep({"model": VAE}).trials()
    assert by_id.id == by_fields.id


def test_a_ticket_can_be_taken_from_a_trial_that_takes_one_and_was_not_run_yet(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (given,) = toy_trials(models=[VAE], sparsities=[0.488])
    run_trial(given, store)
    first = sweep({"trial_id": given.id})
    record(first, store)
    (between,) = resolved(first.trials(), store)
    assert taken({"trial_id": between.id}, store) == [between]


def test_a_source_in_the_store_is_not_trained_again(store: Store) -> None:
    (trial,) = resolved(sweep({"model": VAE}).trials(), store)
    before = trained(store, trial)
    assert run_trial(trial, store) == "done"
    assert trained(store, trial) == before


def trained(store: Store, trial: Trial) -> dict[str, int]:
    """The segments of each line that the source trains."""
    planned = make_plan([trial]).trials[0]
    lines = [line for line in planned.ends if planned.makers[line].model.name == "vae"]
    assert lines
    return {line: len(list(store.list(names.segments_of(line)))) for line in lines}


@pytest.mark.parametrize("changed", ["data_fingerprint", "source_fingerprint"])
def test_a_trial_is_missing_again_when_its_own_or_its_sources_data_changed(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    (trial,) = sweep({"model": VAE, "dataset": {"name": "digits", "fraction": 0.03}}).trials()
    run_trial(trial, store)
    assert standing([trial], store).done == 1
    monkeypatch.setattr(sweeps, "fingerprints", lambda of: {**fingerprints(of), changed: "another"})
    assert [missing.id for missing in standing([trial], store).missing] == [trial.id]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"trial_id": "0123456789abcdef"}, "source: there is no trial '0123456789abcdef' in store"),
        ({"query": "model == 'sngan'"}, "source.query: no finished trial in store .* matches"),
        (
            {"query": "model == 'vae' and sparsity < 0.4"},
            "has to have sparsity 0.488, and of several the seed 0/0; .* has 0.36 and",
        ),
        ({"query": "flavour == 'sour'"}, "source.query \"flavour == 'sour'\": there is no column 'flavour'"),
        ({"ticket": "0123456789abcdef"}, "no ticket '?0123456789abcdef'? in store"),
    ],
)
def test_a_source_that_is_not_there_is_told_in_one_sentence(source: dict[str, Any], message: str, store: Store) -> None:
    with pytest.raises((SourceError, ValueError), match=message):
        taken(source, store)


def test_a_source_that_failed_has_no_ticket(store: Store) -> None:
    (failed,) = Codes(store).settle([failing()])
    with pytest.raises(SourceError, match=r"has no ticket to take: it is failed: .*out of ink"):
        taken({"trial_id": failed.id}, store)


def test_a_ticket_found_under_another_evaluation_is_one_though_this_one_failed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    good, bad = (toy_trials(models=[VAE], sparsities=[0.488], evaluation={"samples": n})[0] for n in (50, 60))
    write_unsuccessful(store, bad, "failed", "no", "")
    run_trial(good, store)
    assert [t.id for t in taken({"trial_id": good.id}, store)] == [good.id]


@pytest.mark.parametrize("status", ["diverged", "no_ticket"])
def test_a_source_that_diverged_or_found_nothing_has_no_ticket(status: str, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (trial,) = toy_trials(models=[VAE], sparsities=[0.488])
    write_unsuccessful(store, trial, status, "so it is", "")
    with pytest.raises(SourceError, match=f"has no ticket to take: it is {status}: so it is"):
        taken({"trial_id": trial.id}, store)


def test_a_width_that_differs_is_told_in_one_sentence(store: Store) -> None:
    wanted = ids(store, "method == 'imp' and sparsity > 0.4 and status == 'done'")[0]
    with pytest.raises(SourceError, match="source: vae is of width 2 and dcgan of width 4; tickets move between"):
        taken({"trial_id": wanted}, store, models=[{**DCGAN, "width": 4}])


def test_a_dense_network_has_no_mask_to_move(store: Store) -> None:
    dense = ids(store, "method == 'dense'")[0]
    with pytest.raises(SourceError, match="source: a trial of 'dense' has no mask that could move"):
        taken({"trial_id": dense}, store, sparsities=[0.0])
