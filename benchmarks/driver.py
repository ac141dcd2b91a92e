"""The cost of the driver: trials that do nothing, run by the real driver and, for comparison, by plain Ray Tune.

Start-up is not measured. The script waits 10 seconds for Ray, because Ray's services still load modules after Ray
reports that it is ready. The first 50 trials are not counted, because workers start meanwhile. Memory is the peak of
the driver process, which also plans the sweep. Each measurement runs in a process of its own; the two sides take turns.

Goals: at most 2 ms a trial; under 250 MB at 1,000 trials, and at most linear growth beyond.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

ROUNDS = 1 if SMOKE else 3
CASES = [("tombola", 4), ("ray tune", 4)] if SMOKE else [("tombola", 1000), ("ray tune", 200), ("ray tune", 800)]
MANY = ("tombola", 6 if SMOKE else 10_000)
WARM_UP, REST = (1, 0.0) if SMOKE else (50, 10.0)
WORKERS = os.cpu_count() or 1


def each(ends: list[float]) -> float:
    """The milliseconds for each trial after the warm-up, from the times in seconds at which trials ended."""
    return 1000 * (ends[-1] - ends[WARM_UP]) / (len(ends) - 1 - WARM_UP)


def tombola(count: int) -> dict[str, float]:
    from orchestrator.cluster.on_ray import OnRay
    from orchestrator.cluster.trial_actor import TrialActor
    from orchestrator.planning.inventory import take_inventory
    from orchestrator.planning.plan import make_plan
    from orchestrator.planning.work import Work
    from search_spaces.sweep import Sweep
    from search_spaces.trial import Trial
    from workers.lab.points import Wanted
    from workers.reports import Report, TrialEnded, TrialStarted
    from workers.store.backends import open_store

    class Idle(TrialActor):
        def perform(self, trial: Trial, wanted: Wanted) -> None:
            self.say(TrialStarted(trial.id))
            self.say(TrialEnded(trial.id, "done"))

    ends: dict[str, float] = {}

    def listen(report: Report) -> None:
        if isinstance(report, TrialEnded):
            ends[report.trial_id] = time.perf_counter()

    axes = {"models": ["linear_autoencoder"], "datasets": ["digits"], "methods": ["dense"]}
    evaluation = {"distances": {"features": "none"}}
    trials = Sweep.model_validate(
        {"name": "idle", **axes, "seeds": count, "epochs": 1, "evaluation": evaluation}
    ).trials()
    with tempfile.TemporaryDirectory() as folder, OnRay(None, Idle) as executor:
        store, plan = open_store(folder), make_plan(trials)
        work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
        time.sleep(REST)
        executor.run(work, store, listen, lambda: False)
    assert len(ends) == count
    return {"ms": each(list(ends.values())), "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def ray_tune(count: int) -> dict[str, float]:
    import ray
    from ray import tune

    class Idle(tune.Trainable):
        def setup(self, config: dict[str, int]) -> None:
            pass

        def reset_config(self, new_config: dict[str, int]) -> bool:
            return True

        def step(self) -> dict[str, object]:
            return {"done": True}

        def save_checkpoint(self, folder: str) -> None:
            pass

    class Times(tune.Callback):
        def on_trial_complete(self, **info: object) -> None:
            ends.append(time.perf_counter())

    ends: list[float] = []
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    time.sleep(REST)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(Idle, {"cpu": 1}),
            param_space={"seed": tune.grid_search(list(range(count)))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=WORKERS),
            run_config=tune.RunConfig(storage_path=folder, name="idle", callbacks=[Times()], verbose=0),
        )
        results = tuner.fit()
        assert len(results) == count
        assert not results.errors
        states = Path(folder, "idle").glob("experiment_state*.json")
        size = sum(path.stat().st_size for path in states) / 1e6
    ray.shutdown()
    return {"ms": each(ends), "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "state_mb": size}


SIDES: dict[str, Callable[[int], dict[str, float]]] = {"tombola": tombola, "ray tune": ray_tune}


def measured(side: str, count: int) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, side, str(count), *sys.argv[1:]], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    figures: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return figures


def main() -> None:
    found: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in [*CASES, MANY]}
    for _ in range(ROUNDS):
        for side, count in CASES:
            found[side, count].append(measured(side, count))
    found[MANY].append(measured(*MANY))
    table = Table("trials", "by", "ms a trial", "lowest to highest", "driver MB", "state file MB", box=None)
    for (side, count), figures in found.items():
        ms = [each["ms"] for each in figures]
        state = f"{figures[0]['state_mb']:.2f}" if "state_mb" in figures[0] else ""
        mb = statistics.median(each["mb"] for each in figures)
        spread = f"{min(ms):.2f} to {max(ms):.2f}"
        table.add_row(f"{count:,}", side, f"{statistics.median(ms):.2f}", spread, f"{mb:.0f}", state)
    console = Console(width=100, highlight=False)
    console.print(table)
    ours, theirs = (statistics.median(each["ms"] for each in found[case]) for case in (CASES[0], CASES[-1]))
    console.print(f"a trial by Ray Tune (800) takes {theirs / ours:.1f} times as long as one by tombola (1,000)")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(SIDES[sys.argv[1]](int(sys.argv[2]))))
    else:
        main()
