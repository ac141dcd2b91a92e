"""By which code of plugins a trial is known."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import results
from search_spaces.trial import Code, Trial
from tests import toys
from tests.toys import toy_trial, toy_trials
from workers import data
from workers.archive.failures import Failures
from workers.lab.recorder import Recorder
from workers.profiles.profile import profile_key
from workers.program import Outcome, run_program
from workers.settling.codes import CodeError, Codes
from workers.settling.plugin_code import code_of
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects
from workers.trial import run_trial

pytestmark = pytest.mark.usefixtures("one_thread")

Edit = Callable[[int], None]


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Makes the plugin of the toys another version of itself."""

    def edit(version: int) -> None:
        monkeypatch.setattr(toys, "VERSION", version)
        code_of.cache_clear()

    edit(1)
    yield edit
    code_of.cache_clear()


def faulty(tmp_path: Path) -> Trial:
    (trial,) = toy_trials(models=[{"name": "faulty", "broken": str(tmp_path / "broken")}], sparsities=[0.2])
    return trial


def settled(store: Store, trial: Trial, *, keep: bool = False) -> Trial:
    codes = Codes(store, keep=keep)
    (trial,) = codes.settle([trial])
    codes.record()
    return trial


def outcome(trial: Trial) -> Outcome:
    return run_program(Recorder(trial, data.card(trial.dataset)), trial)


def test_a_trial_of_built_in_parts_is_what_it_was(store: Store, edited: Edit) -> None:
    assert settled(store, toy_trial()) == toy_trial()
    assert settled(store, toy_trial()).code is None


def test_another_code_of_the_model_makes_another_trial_of_other_states(
    store: Store, tmp_path: Path, edited: Edit
) -> None:
    before = settled(store, faulty(tmp_path))
    edited(2)
    after = settled(store, faulty(tmp_path))
    assert before.code == Code(model="tests.toys version 1")
    assert after.code == Code(model="tests.toys version 2")
    assert before.id != after.id
    assert outcome(before).ticket.start.key != outcome(after).ticket.start.key
    assert profile_key(before) != profile_key(after)
    assert Trial.model_validate_json(after.spec_json) == after


def test_a_scorer_s_code_is_in_the_keys_of_masks_and_a_search_s_in_the_id_alone() -> None:
    plain, scorer, search = (
        toy_trial(sparsities=[0.2]).changed(code=code) for code in (None, Code(scorer="a 1"), Code(search="a 1"))
    )
    assert len({trial.id for trial in (plain, scorer, search)}) == 3
    tickets = [outcome(trial).ticket for trial in (plain, scorer, search)]
    assert len({ticket.start.key for ticket in tickets}) == 1
    assert tickets[1].mask != tickets[0].mask == tickets[2].mask


def test_the_code_of_a_source_is_its_own(store: Store, tmp_path: Path, edited: Edit) -> None:
    source = {"model": {"name": "faulty", "width": 8, "broken": str(tmp_path / "broken")}, "method": "one_shot"}
    method = {"name": "shuffle_layer", "of": {"name": "transfer", "source": source}}
    trials = []
    for version in (1, 2):
        edited(version)
        trials.append(settled(store, toy_trial(methods=[method], sparsities=[0.2])))
    assert [trial.code for trial in trials] == [None, None]
    assert trials[0].id != trials[1].id
    assert outcome(trials[0]).ticket.mask != outcome(trials[1]).ticket.mask
    assert settled(store, trials[0]) == trials[0], "what a stored trial was made by stays"


def test_a_ticket_is_not_taken_from_a_model_of_other_code(store: Store, tmp_path: Path, edited: Edit) -> None:
    source = {"model": {"name": "faulty", "width": 8, "broken": str(tmp_path / "broken")}}
    known = settled(store, toy_trial(methods=[{"name": "transfer", "source": source}], sparsities=[0.2]))
    assert known.code is None
    Codes(store).check(known)
    edited(2)
    with pytest.raises(CodeError, match="belongs to plugin code model"):
        Codes(store).check(known)


def test_what_a_change_orphans_is_told_and_can_be_kept(store: Store, tmp_path: Path, edited: Edit) -> None:
    trials = [faulty(tmp_path), toy_trial(sparsities=[0.2])]
    done = [settled(store, trial) for trial in trials]
    for trial in done:
        store.put_if_absent(names.rows(names.TRIALS, trial.id, "0" * 16), b"rows")
    edited(2)
    codes = Codes(store)
    assert codes.settle(trials)[0].id != done[0].id
    (told,) = codes.told
    assert f"1 in all ({done[0].id})" in told
    kept = Codes(store, keep=True)
    assert kept.settle(trials) == tuple(done)
    assert kept.told == []
    assert Codes(store).settle(trials) != tuple(done), "nothing is remembered before it is recorded"
    kept.record()
    assert Codes(store).settle(trials) == tuple(done)
    edited(3)
    assert settled(store, trials[0], keep=True) == done[0], "a change of what was kept can be kept, too"
    edited(1)
    assert settled(store, trials[0]) == done[0]


def test_a_change_can_be_kept_after_it_was_run(store: Store, tmp_path: Path, edited: Edit) -> None:
    first = settled(store, faulty(tmp_path))
    edited(2)
    assert settled(store, faulty(tmp_path)) != first
    assert settled(store, faulty(tmp_path), keep=True) == first
    assert settled(store, faulty(tmp_path)) == first


def test_a_change_counts_as_what_was_used_last_and_code_that_is_back_as_itself(
    store: Store, tmp_path: Path, edited: Edit
) -> None:
    first = settled(store, faulty(tmp_path))
    edited(2)
    assert settled(store, faulty(tmp_path)) != first
    edited(1)
    assert settled(store, faulty(tmp_path)) == first
    edited(3)
    assert settled(store, faulty(tmp_path), keep=True) == first
    edited(1)
    assert settled(store, faulty(tmp_path), keep=True) == first


def test_nothing_is_made_by_other_code_than_the_trial_says(store: Store, tmp_path: Path, edited: Edit) -> None:
    trial = settled(store, faulty(tmp_path))
    edited(2)
    assert run_trial(trial, store) == "failed"
    (row,) = results.trials(store.uri).to_dict("records")
    assert "belongs to plugin code model tests.toys version 1, but here is" in row["error"]
    recorder = Recorder(trial, data.card(trial.dataset))
    run_program(recorder, trial)
    assert Failures(Objects(store)).any_of(recorder.stages.values()) is None, "elsewhere the code may be the right one"
    store.delete(next(iter(store.list(names.TRIALS))))
    edited(1)
    assert run_trial(trial, store) == "done"
    store.delete(next(iter(store.list(names.TRIALS))))
    edited(2)
    assert run_trial(trial, store) == "done", "what is there is only read"
