"""The scheduling rules, against random sweeps, random orders of events and random failures."""

import random
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cluster.schedule import Schedule

STAGES = st.integers(0, 12).map(str)
NEEDS = st.lists(st.sets(STAGES, max_size=6), min_size=1, max_size=12).map(
    lambda sets: {f"trial{i}": sorted(stages) for i, stages in enumerate(sets)}
)


def schedule_of(needs: dict[str, list[str]], committed: Collection[str] = ()) -> Schedule:
    return Schedule(needs, committed, dict.fromkeys(needs, "worker"))


def started(schedule: Schedule, kind: str = "worker") -> list[str]:
    trials = []
    while (trial := schedule.start(kind)) is not None:
        trials.append(trial)
    return trials


def test_trials_that_share_nothing_start_at_once() -> None:
    assert started(schedule_of({"a": ["1"], "b": ["2"]})) == ["a", "b"]


def test_a_trial_waits_for_a_stage_that_an_earlier_one_owns() -> None:
    schedule = schedule_of({"a": ["1", "2"], "b": ["1", "3"]})
    assert started(schedule) == ["a"]
    schedule.commit("1")
    assert started(schedule) == ["b"], "it is released by the stage, not by the end of the trial"


def test_what_is_committed_already_is_not_waited_for() -> None:
    assert started(schedule_of({"a": ["1"], "b": ["1"]}, {"1"})) == ["a", "b"]


def test_what_an_ended_trial_left_undone_passes_to_the_next() -> None:
    schedule = schedule_of({"a": ["1"], "b": ["1"], "c": ["1"]})
    assert started(schedule) == ["a"]
    schedule.end("a")
    assert started(schedule) == ["b"]
    schedule.commit("1")
    assert started(schedule) == ["c"]


def test_a_trial_that_lost_its_worker_starts_again_before_later_ones() -> None:
    schedule = schedule_of({"a": ["1"], "b": ["2"], "c": ["3"]})
    assert schedule.start("worker") == "a"
    schedule.give_back("a")
    assert started(schedule) == ["a", "b", "c"]


def test_a_trial_goes_to_a_worker_of_its_kind() -> None:
    schedule = Schedule({"a": ["1"], "b": ["2"], "c": ["3"]}, (), {"a": "small", "b": "large", "c": "small"})
    assert schedule.first_ready(2) == ["a", "b"]
    assert started(schedule, "large") == ["b"]
    assert started(schedule, "small") == ["a", "c"]


def test_trials_that_need_a_failed_stage_wait_for_nothing_more() -> None:
    schedule = schedule_of({"a": ["1", "2"], "b": ["2", "3"], "c": ["1", "3"]})
    assert started(schedule) == ["a"]
    schedule.fail("1")
    assert started(schedule) == ["c"], "it ends at once, though b owns what it needs besides"
    schedule.end("a")
    assert started(schedule) == ["b"]


@given(NEEDS, st.integers(0, 2**32), st.integers(1, 4), st.sets(STAGES, max_size=3), st.sets(STAGES, max_size=4))
def test_every_trial_ends_no_stage_is_made_twice_and_nothing_deadlocks(
    needs: dict[str, list[str]], seed: int, workers: int, broken: set[str], held: set[str]
) -> None:
    """Workers make the stages of their trials in order, die at random, and end trials at stages that fail."""
    chance = random.Random(seed)
    schedule = schedule_of(needs, held)
    committed, failed, making = set(held), set[str](), dict[str, str]()
    running, ended = dict[str, list[str]](), list[str]()
    while len(schedule):
        while len(running) < workers and (trial := schedule.start("worker")) is not None:
            running[trial] = list(needs[trial])
        assert running, "trials are left, but none runs and none is ready"
        trial = chance.choice(list(running))
        if chance.random() < 0.1:
            making = {stage: maker for stage, maker in making.items() if maker != trial}
            del running[trial]
            schedule.give_back(trial)
            continue
        todo = running[trial]
        while todo and todo[0] in committed:
            todo.pop(0)
        if not todo or failed.intersection(needs[trial]) - committed or todo[0] in broken:
            if todo and todo[0] in broken:
                failed.add(todo[0])
                schedule.fail(todo[0])
            making = {stage: maker for stage, maker in making.items() if maker != trial}
            del running[trial]
            schedule.end(trial)
            ended.append(trial)
        elif todo[0] not in making:
            making[todo[0]] = trial
        else:
            assert making[todo[0]] == trial, f"stage {todo[0]} is made by two trials at once"
            committed.add(todo[0])
            schedule.commit(todo.pop(0))
    assert sorted(ended) == sorted(needs)
