import pytest

from search_spaces.criterion import Criterion
from search_spaces.trial import Evaluation
from workers.archive.failures import DIVERGED, ERROR, Failure, Failures
from workers.lab.references import DENSE, Line, State
from workers.lab.stages import Emerge, Evaluate, Select, Train
from workers.store.backends import Store
from workers.store.objects import Objects

LINE = Line("line", State(Line("init"), 0), DENSE)
LAST = Evaluate("measure", State(LINE, 5), Evaluation(), "held_out", None, None)


@pytest.fixture
def failures(store: Store) -> Failures:
    return Failures(Objects(store))


def test_a_failure_stands_in_the_way_of_its_stage_alone(failures: Failures) -> None:
    failures.record(Failure("line", "train", ERROR, "out of ink"))
    failure = failures.of(Train(LINE, 5))
    assert failure is not None
    assert failure.message == "out of ink"
    assert failures.of(Select("other", (), "elbo", LAST)) is None


def test_what_lies_before_a_divergence_is_still_good(failures: Failures) -> None:
    failures.record(Failure("line", "train", DIVERGED, "loss was nan", epoch=4))
    assert failures.of(Train(LINE, 3)) is None
    assert failures.of(Train(LINE, 4)) is not None


def test_only_failures_of_the_kinds_asked_for_are_cleared(failures: Failures) -> None:
    failures.record(Failure("line", "train", DIVERGED, "loss was nan", epoch=1))
    failures.record(Failure("measure", "evaluate", ERROR, "out of ink"))
    stages = [Train(LINE, 5), LAST]
    failures.clear(stages, [ERROR])
    assert [failures.of(stage) is None for stage in stages] == [False, True]


def test_divergence_on_the_way_to_an_emerging_mask_is_cleared_with_it(failures: Failures) -> None:
    stage = Emerge("mask", LINE, Criterion(score="magnitude"), 0.5, 1, 0.1, 4)
    failures.record(Failure("line", "train", DIVERGED, "loss was nan", epoch=1))
    failures.clear([stage], [DIVERGED])
    assert failures.of(Train(LINE, 5)) is None
