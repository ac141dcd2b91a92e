from types import SimpleNamespace

import pytest

from tests.toys import toy_trial
from workers.lab.points import CHECKPOINT, FULL, Segment
from workers.lab.references import Line, State
from workers.training import journal
from workers.training.journal import Journal

LINE = Line("line", State(Line("initial"), 0))


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
