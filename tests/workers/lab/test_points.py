from hypothesis import given
from hypothesis import strategies as st

from search_spaces.trial import Evaluation
from workers.lab.points import CHECKPOINT, FULL, WEIGHTS, Held, Segment, Wanted, missing_segments
from workers.lab.references import DENSE, Line, MaskKey, State
from workers.lab.stages import Evaluate, Select, Train
from workers.store import names

INITIAL = State(Line("init"), 0)


def points_of(stages):
    return Wanted.by(stages).points


DENSE_LINE = Line("dense", INITIAL, DENSE)


def held(**epochs: set[int]) -> Held:
    return Held(**epochs)


def test_the_last_point_of_a_line_keeps_weights_alone() -> None:
    assert points_of([Train(DENSE_LINE, 2), Train(DENSE_LINE, 10)]) == {"dense": {2: FULL, 10: WEIGHTS}}


def test_points_that_are_looked_at_alone_keep_weights_alone() -> None:
    def measured(epoch: int) -> Evaluate:
        return Evaluate(f"measured {epoch}", State(DENSE_LINE, epoch), Evaluation(), "selection", None, None)

    stages = [Train(DENSE_LINE, epoch) for epoch in (2, 4, 10)]
    select = Select("select", (measured(4), measured(10)), "elbo", measured(10))
    assert points_of([*stages, select]) == {"dense": {2: FULL, 4: WEIGHTS, 10: WEIGHTS}}


def test_a_point_that_another_line_starts_from_keeps_its_moments() -> None:
    ticket = Line("ticket", State(DENSE_LINE, 10), MaskKey("m"))
    assert points_of([Train(DENSE_LINE, 10), Train(ticket, 20)])["dense"] == {10: FULL}


def test_segments_are_cut_by_the_whole_plan() -> None:
    wanted = {2: FULL, 10: WEIGHTS}
    assert missing_segments(0, wanted, held()) == [Segment(0, 2, FULL), Segment(2, 10, WEIGHTS)]


def test_what_is_held_is_not_trained() -> None:
    assert missing_segments(0, {2: FULL, 10: WEIGHTS}, held(full={2}, weights={10})) == []
    assert missing_segments(0, {2: FULL, 10: WEIGHTS}, held(weights={10})) == [Segment(0, 2, FULL)]


def test_training_goes_on_from_the_latest_checkpoint() -> None:
    assert missing_segments(0, {10: WEIGHTS}, held(full={2}, checkpoint={7})) == [Segment(7, 10, WEIGHTS)]


def test_a_checkpoint_in_the_right_place_is_kept_without_training() -> None:
    assert missing_segments(0, {7: FULL}, held(checkpoint={7})) == [Segment(7, 7, FULL)]


def test_without_moments_training_cannot_go_on() -> None:
    wanted = {10: FULL, 20: WEIGHTS}
    assert missing_segments(0, wanted, held(full={2}, weights={10})) == [
        Segment(2, 10, FULL),
        Segment(10, 20, WEIGHTS),
    ]


epochs = st.sets(st.integers(1, 12))


@given(st.dictionaries(st.integers(1, 12), st.sampled_from([FULL, WEIGHTS])), epochs, epochs, epochs)
def test_segments_make_all_that_is_wanted_and_train_nothing_twice(
    wanted: dict[int, str], full: set[int], weights: set[int], checkpoint: set[int]
) -> None:
    store = held(full=set(full), weights=set(weights), checkpoint=set(checkpoint))
    trained: list[int] = []
    for segment in missing_segments(0, wanted, store):
        assert segment.begin in {0} | store.full | store.checkpoint
        trained += range(segment.begin, segment.end)
        store.add(segment.end, segment.kept)
        if segment.end < max(wanted):
            store.add(segment.end, CHECKPOINT)
    assert all(store.has(epoch, kept) for epoch, kept in wanted.items())
    assert len(trained) == len(set(trained))


def test_names_tell_how_a_point_is_kept() -> None:
    stored = [("ab12", 3, FULL), ("ab12", 10, WEIGHTS), ("cd", 1, CHECKPOINT)]
    lines = Held.parse(names.state(*point) for point in stored)
    assert lines == {"ab12": Held({3}, {10}, set()), "cd": Held(set(), set(), {1})}
