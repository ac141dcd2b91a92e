"""The driver's rules, with real plans and failures but workers that only pretend to train."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cluster import driver
from orchestrator.cluster.driver import Driver
from orchestrator.cluster.machines import ClusterError
from orchestrator.cluster.pool import NODE, PROCESS, Event, Lost, Worker
from orchestrator.cluster.trial_actor import RanOutOfMemory, Ready, StoreBroke
from orchestrator.execution.faults import DEATHS
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import make_plan
from orchestrator.planning.work import Work
from search_spaces.trial import Resources, Trial
from tests.toys import TOY_MODELS, toy_trials
from workers.archive.failures import Failure, Failures, subject
from workers.lab.points import Points
from workers.reports import Report, StageCommitted, TrialEnded, TrialLeft, TrialStarted
from workers.store import names
from workers.store.backends import Store, StoreError
from workers.store.objects import Objects


class Memory:
    """A store in a dictionary."""

    uri = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        return self.objects.setdefault(name, data) is data

    def list(self, folder: str) -> Iterator[str]:
        return iter([name for name in self.objects if name.startswith(f"{folder}/")])

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)


class Pretenders:
    """Two machines of two cores whose workers make stages in no time, and suffer what `fate` gives each stage.

    A stage's fate is `fails`, `deadly` (the process dies of it, always), `hungry` (needs the machine to itself) or
    `starving` (has never enough memory). `accidents` is how many workers and machines are lost for no reason.
    """

    patience = 600.0
    capacity = (4.0, 0.0)

    def __init__(
        self, work: Work, store: Store, chance: random.Random, fate: Mapping[str, str], accidents: int
    ) -> None:
        self.work, self.store, self.chance, self.fate, self.accidents = work, store, chance, fate, accidents
        self.workers: list[Worker] = []
        self.todo: dict[Worker, list[str]] = {}
        self.making: dict[str, Worker] = {}
        self.made = Counter[str](dict.fromkeys(work.inventory.held, 1))
        self.out_of_memory: set[str] = set()
        self.pending: list[Event] = []
        self.asked_to_stop = False
        self._numbers = count()

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self.workers))

    def resize(self, wanted: Mapping[Resources, int]) -> None:
        have = Counter(worker.resources for worker in self.workers)
        for worker in list(self.workers):
            if worker.trial_id is None and have[worker.resources] > wanted.get(worker.resources, 0):
                have[worker.resources] -= 1
                self.workers.remove(worker)
        for resources, number in wanted.items():
            for node in ("first", "second"):
                while have[resources] < number and self._free(node) >= resources.cpus:
                    worker = Worker(next(self._numbers), resources, None, None, node)
                    self.workers.append(worker)
                    self.pending.append((worker, Ready(node)))
                    have[resources] += 1

    def run(self, worker: Worker, trial: Trial, points: Points) -> None:
        assert worker in self.workers
        assert worker.trial_id is None
        if trial.id in self.out_of_memory:
            assert self._others(worker) == [], "a trial that ran out of memory has its machine to itself"
        assert not any(other.trial_id in self.out_of_memory for other in self._others(worker))
        worker.trial_id = trial.id
        self.todo[worker] = self.work.needs(trial.id)
        self.pending.append((worker, TrialStarted(trial.id)))

    def rest(self, worker: Worker) -> None:
        worker.trial_id = None
        self.todo.pop(worker, None)
        self.making = {stage: maker for stage, maker in self.making.items() if maker is not worker}

    def events(self, timeout: float) -> list[Event]:
        busy = list(self.todo)
        if self.pending or not busy:
            events, self.pending = self.pending, []
            return events
        worker = self.chance.choice(busy)
        if self.accidents and self.chance.random() < 0.1:
            self.accidents -= 1
            lost = [worker] if self.chance.random() < 0.5 else [w for w in self.workers if w.node == worker.node]
            for each in lost:
                self.let_go(each)
            return [(each, Lost(PROCESS if len(lost) == 1 else NODE, "an accident")) for each in lost]
        return [(worker, message) for message in self._advance(worker)]

    def stop(self) -> None:
        self.asked_to_stop = True

    def let_go(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)

    def _free(self, node: str) -> int:
        return 2 - sum(worker.resources.cpus for worker in self.workers if worker.node == node)

    def _others(self, worker: Worker) -> list[Worker]:
        return [w for w in self.workers if w.trial_id is not None and w.node == worker.node and w is not worker]

    def _advance(self, worker: Worker) -> list[Any]:
        trial_id, todo = worker.trial_id, self.todo[worker]
        assert trial_id is not None
        stages = self.work.by_id[trial_id].stages
        failures = Failures(Objects(self.store))
        if failure := failures.any_of(stages.values()):
            return [TrialEnded(trial_id, "failed", str(failure), failure)]
        while todo and self.made[todo[0]]:
            todo.pop(0)
        if not todo:
            return [TrialEnded(trial_id, "done")]
        if self.asked_to_stop:
            return [TrialLeft(trial_id, "asked to stop")]
        stage = todo[0]
        if stage not in self.making:
            self.making[stage] = worker
            return []
        assert self.making[stage] is worker, f"{stage} is made by two workers at once"
        match self.fate.get(stage):
            case "fails":
                about = stages.get(stage)
                failed = subject(about) if about else stage.partition("@")[0]
                failures.record(Failure(failed, "train", "error", "broken"))
                return [TrialEnded(trial_id, "failed", "broken", Failure(failed, "train", "error", "broken"))]
            case "deadly":
                self.let_go(worker)
                return [Lost(PROCESS, "deadly")]
            case "starving":
                self.out_of_memory.add(trial_id)
                return [RanOutOfMemory(trial_id, "starving")]
            case "hungry" if self._others(worker):
                self.out_of_memory.add(trial_id)
                return [RanOutOfMemory(trial_id, "hungry")]
        self.made[stage] += 1
        return [StageCommitted(trial_id, stage)]


@pytest.fixture(autouse=True)
def _look_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TICK", 0.0)


def work_of(trials: tuple[Trial, ...], store: Store) -> Work:
    plan = make_plan(trials)
    return Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))


def drive(work: Work, pool: Pretenders, store: Store) -> list[Report]:
    reports: list[Report] = []
    Driver(work, pool, store, reports.append).run()
    return reports


def ends(reports: list[Report]) -> dict[str, str]:
    ended = [report for report in reports if isinstance(report, TrialEnded)]
    assert len({report.trial_id for report in ended}) == len(ended), "no trial ends twice"
    return {report.trial_id: report.status for report in ended}


SWEEPS = st.fixed_dictionaries(
    {
        "models": st.lists(st.sampled_from(list(TOY_MODELS.values())), min_size=1, max_size=2, unique_by=str),
        "methods": st.lists(
            st.sampled_from(["dense", "imp", "one_shot", "reinit", "shuffle_layer", {"name": "imp", "rewind": 2}]),
            min_size=1,
            max_size=4,
            unique_by=str,
        ),
        "sparsities": st.sampled_from([{"rounds": 1}, {"rounds": 4}, [0.2, 0.5, 0.9]]),
        "seeds": st.sampled_from([1, 3, [{"init": 0, "order": 0}, {"init": 0, "order": 1}]]),
        "epochs": st.sampled_from([3, 4]),
    }
)
FATES = st.sampled_from(["fails", "deadly", "hungry", "starving"])


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SWEEPS, st.integers(0, 2**32), st.lists(FATES, max_size=3), st.integers(0, 6), st.booleans())
def test_every_trial_ends_once_and_no_stage_is_made_twice(
    sweep: dict[str, Any], seed: int, fates: list[str], accidents: int, mixed: bool
) -> None:
    chance, store = random.Random(seed), Memory()
    wide = [{"where": {"sparsity": [0.2, 0.9]}, "set": {"resources.cpus": 2}}]
    sparse = sweep["methods"] != ["dense"]
    trials = toy_trials(**sweep, overrides=wide if mixed and sparse else [])
    work = work_of(trials, store)
    stages = sorted(work.plan.stages)
    pool = Pretenders(work, store, chance, {chance.choice(stages): fate for fate in fates}, accidents)
    ended = ends(drive(work, pool, store))
    assert ended.keys() == {trial.id for trial in trials}
    assert set(pool.made.values()) <= {1}
    if not set(fates) - {"hungry"}:
        assert set(ended.values()) == {"done"}
        assert set(pool.made) >= set(stages)


def test_a_trial_is_released_by_a_stage_and_not_by_the_end_of_another() -> None:
    store = Memory()
    work = work_of(toy_trials(methods=["imp"], sparsities={"rounds": 3}), store)
    reports = drive(work, Pretenders(work, store, random.Random(0), {}, 0), store)
    started = [report.trial_id for report in reports if isinstance(report, TrialStarted | TrialEnded)]
    assert len(set(started[:2])) == 2, "the second trial starts before the first has ended"


def test_the_longest_remaining_chain_starts_first() -> None:
    store = Memory()
    work = work_of(toy_trials(methods=["dense", "imp"], sparsities={"rounds": 3}), store)
    sparsities = [planned.trial.sparsity for planned in work.trials]
    assert sparsities == sorted(sparsities, reverse=True)


def first_stage(work: Work) -> str:
    return next(iter(work.trials[0].stages))


def test_a_worker_that_always_dies_of_a_stage_ends_all_trials_that_need_it() -> None:
    store = Memory()
    work = work_of(toy_trials(), store)
    reports = drive(work, Pretenders(work, store, random.Random(0), {first_stage(work): "deadly"}, 0), store)
    assert sum(isinstance(report, TrialLeft) for report in reports) == DEATHS, "once in all, not for every trial"
    assert set(ends(reports).values()) == {"failed"}
    assert sum(1 for _ in store.list(names.TRIALS)) == 1, "those that follow write their own rows"


def test_a_trial_that_has_never_enough_memory_fails_with_a_hint() -> None:
    store = Memory()
    work = work_of(toy_trials(), store)
    reports = drive(work, Pretenders(work, store, random.Random(0), {first_stage(work): "starving"}, 0), store)
    error = next(report.error for report in reports if isinstance(report, TrialEnded))
    assert "starving" in error
    assert "more memory" in error


def test_asked_to_stop_it_starts_nothing_more_and_leaves() -> None:
    store = Memory()
    work = work_of(toy_trials(seeds=3), store)
    pool = Pretenders(work, store, random.Random(0), {}, 0)
    reports: list[Report] = []
    Driver(work, pool, store, reports.append, lambda: any(isinstance(r, StageCommitted) for r in reports)).run()
    assert pool.asked_to_stop
    assert ends(reports) == {}
    started, left = ({r.trial_id for r in reports if isinstance(r, kind)} for kind in (TrialStarted, TrialLeft))
    assert started == left


def test_a_store_that_breaks_ends_the_sweep_with_its_error() -> None:
    class Breaking(Pretenders):
        def _advance(self, worker: Worker) -> list[Any]:
            return [StoreBroke(str(worker.trial_id), "--store x: cannot write")]

    store = Memory()
    work = work_of(toy_trials(), store)
    with pytest.raises(StoreError, match="cannot write"):
        drive(work, Breaking(work, store, random.Random(0), {}, 0), store)


def test_where_no_worker_comes_it_ends_with_a_reason() -> None:
    class Nobody(Pretenders):
        patience = 0.05

        def resize(self, wanted: Mapping[Resources, int]) -> None:
            pass

    store = Memory()
    work = work_of(toy_trials(), store)
    with pytest.raises(ClusterError, match="3 trials are left"):
        drive(work, Nobody(work, store, random.Random(0), {}, 0), store)


def test_workers_that_cannot_start_end_the_sweep_with_a_reason() -> None:
    class Stillborn(Pretenders):
        def events(self, timeout: float) -> list[Event]:
            return [(Worker(0, Resources(), None, None), Lost(PROCESS, "No module named 'workers'"))]

    store = Memory()
    work = work_of(toy_trials(), store)
    with pytest.raises(ClusterError, match="No module named 'workers'"):
        drive(work, Stillborn(work, store, random.Random(0), {}, 0), store)
