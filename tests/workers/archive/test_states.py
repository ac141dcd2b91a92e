import torch

from workers.archive.ledger import SegmentRecord, TrainedEpoch
from workers.archive.states import Archive, Point
from workers.lab.points import CHECKPOINT, FULL, WEIGHTS
from workers.lab.references import Line, State
from workers.store import names
from workers.store.backends import Store

STATE = State(Line("line"), 3)
RECORD = SegmentRecord("line", 1, 3, FULL, {"host": "x", "threads": 1}, (TrainedEpoch(3, 1.5, 1.0, {"loss": 0.5}),))
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "moments.a.weight.exp_avg": torch.ones(2, 3)}


def test_a_state_that_was_committed_just_before_a_crash_still_enters_the_ledger(store: Store) -> None:
    archive = Archive(store)
    archive.commit_point(STATE, FULL, Point(TENSORS, RECORD))
    store.delete(names.segment("line", 3, FULL))  # as if the process had died between the two commits
    archive.point(STATE, moments=True)
    assert archive.ledger.ending_at("line", 3) == RECORD


def test_a_record_that_was_lost_is_found_in_its_state(store: Store) -> None:
    archive = Archive(store)
    archive.commit_point(STATE, FULL, Point(TENSORS, RECORD))
    store.delete(names.segment("line", 3, FULL))
    assert archive.segment(STATE) == RECORD


def test_a_state_kept_as_weights_cannot_be_trained_on(store: Store) -> None:
    archive = Archive(store)
    archive.commit_point(STATE, WEIGHTS, Point(TENSORS, None))
    assert archive.point(STATE, moments=True) is None
    point = archive.point(STATE, moments=False)
    assert point is not None
    assert list(point.tensors) == ["a.weight"]


def test_only_checkpoints_are_dropped(store: Store) -> None:
    archive = Archive(store)
    for kept in (FULL, CHECKPOINT):
        archive.commit_point(STATE, kept, Point(TENSORS, None))
    archive.drop_checkpoints("line", before=4)
    held = archive.held("line")
    assert (held.full, held.checkpoint) == ({3}, set())


def test_only_checkpoints_up_to_an_epoch_are_dropped(store: Store) -> None:
    archive = Archive(store)
    for epoch in (3, 7):
        archive.commit_point(State(Line("line"), epoch), CHECKPOINT, Point({"w": torch.zeros(1)}, None))
    archive.drop_checkpoints("line", before=5)
    assert archive.held("line").checkpoint == {7}
