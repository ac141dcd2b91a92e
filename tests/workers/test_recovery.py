from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator import results
from tests.toys import toy_trial, toy_trials
from tests.workers.test_trial import Diary, Killed, run_all
from workers import journal, names
from workers.archive import Archive, Point
from workers.failures import DIVERGED, ERROR, Failure, Failures
from workers.journal import Journal
from workers.ledger import SegmentRecord, TrainedEpoch
from workers.objects import Objects
from workers.points import CHECKPOINT, FULL, Segment
from workers.stages import Line, State, Train
from workers.store import LocalStore, Store
from workers.trial import run_trial

LINE = Line("line", State(Line("initial"), 0))


def test_divergence_stands_for_its_line_from_its_epoch_on(store: Store) -> None:
    failures, failure = Failures(Objects(store)), Failure("line", "train", DIVERGED, "nan", epoch=5)
    failures.record(failure)
    assert [failures.of(Train(LINE, epoch)) for epoch in (4, 5, 9)] == [None, failure, failure]


def test_errors_are_forgotten_and_divergences_are_not(store: Store) -> None:
    failures = Failures(Objects(store))
    other = Line("other", LINE.origin)
    failures.record(Failure("line", "train", ERROR, "out of ink"))
    failures.record(Failure("other", "train", DIVERGED, "nan", epoch=1))
    assert failures.clear_errors([Train(LINE, 4), Train(other, 4)]) == 1
    assert failures.of(Train(LINE, 4)) is None
    assert failures.of(Train(other, 4)) is not None


def test_a_recorded_failure_ends_later_trials_without_another_try(store: Store, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    first, second = toy_trials(models=[{"name": "faulty", "broken": str(broken)}], sparsities=[0.2, 0.36])
    assert run_trial(first, store) == "failed"
    broken.unlink()
    diary = Diary()
    assert run_trial(second, store, None, diary) == "failed"
    assert diary.epochs == []


def test_a_state_brings_its_record_back_into_the_ledger(store: Store) -> None:
    archive, state = Archive(store), State(LINE, 3)
    record = SegmentRecord("line", 0, 3, FULL, {"host": "h"}, (TrainedEpoch(3, 1.0, 1.0, {"loss": 0.5}),))
    archive.commit_point(state, FULL, Point({"w": torch.zeros(1)}, record))
    (entry,) = store.list(names.LEDGER)
    store.delete(entry)
    assert archive.segment(state) == record
    store.delete(entry)
    archive.point(state, moments=True)
    assert archive.ledger.all() == [record]


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


def test_only_checkpoints_up_to_an_epoch_are_dropped(store: Store) -> None:
    archive = Archive(store)
    for epoch in (3, 7):
        archive.commit_point(State(LINE, epoch), CHECKPOINT, Point({"w": torch.zeros(1)}, None))
    archive.drop_checkpoints("line", before=5)
    assert archive.held("line").checkpoint == {7}


@pytest.mark.parametrize(
    ("every", "due"), [({"epochs": 2}, [0, 1]), ({"minutes": 1}, [0, 1]), ({"minutes": 2}, [0, 0])]
)
def test_a_checkpoint_is_due_after_epochs_or_minutes(
    every: dict[str, int], due: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = toy_trial(checkpoint_every=every)
    clock = iter([0.0, 31.0, 62.0])
    monkeypatch.setattr(journal, "time", SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 0.0))
    written = Journal(LINE, Segment(0, 10, FULL))
    seen = []
    for number in (1, 2):
        written.add(number, {})
        seen.append(written.due(trial))
    assert seen == due


def test_records_are_cut_end_to_end() -> None:
    written = Journal(LINE, Segment(1, 10, FULL))
    written.add(2, {})
    first = written.cut(2, CHECKPOINT, {})
    written.add(3, {})
    second = written.cut(3, FULL, {})
    assert [(r.begin, r.end, [e.number for e in r.epochs]) for r in (first, second)] == [(1, 2, [2]), (2, 3, [3])]


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
