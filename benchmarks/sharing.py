"""What sharing saves in a small real sweep, and whether independent trials keep all cores busy.

The sweep has IMP, one-shot and two controls, at the 6 sparsities of 6 rounds, from 2 seeds. It runs in three ways. Each
way begins with empty stores and uses the same worker code. A trial has one torch thread, and as many trials run at once
as there are cores.

- shared: by tombola on Ray;
- chained: in plain Ray Tune. Trials that differ only in sparsity run one after the other in one store, like a search
  that logs all its sparsities;
- alone: in plain Ray Tune, every trial in a store of its own.

Tune gets the best conditions: the longest trials come first, actors are reused, and images are decoded once and read in
place. The script counts epochs in the ledgers; they must equal those of the plan. Start-up is the time until the first
trial has started. Wall time is the time from then until the last trial has ended. The CPU time of all processes
includes Ray and start-up.

Then dense trainings from many seeds, which have nothing to share, run on workers that are ready. Their time is compared
with the least possible: the CPU seconds of their training, divided by the number of cores. Goal: 1.1 of that. The
output also shows how much of the cores other processes used, because that makes our time longer.

Each measurement runs in a process of its own.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.cluster.on_ray import OnRay
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.planning.work import Work
from search_spaces.base.canonical import canonical_json
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers import data
from workers.archive.ledger import Ledger
from workers.reports import Report, TrialEnded, TrialStarted
from workers.store.backends import Store, open_store
from workers.store.objects import Objects

os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

CORES = len(os.sched_getaffinity(0))
REST = 0.0 if SMOKE else 10.0
"""Seconds to wait for Ray, whose services still load modules after Ray reports that it is ready."""

MODEL = {"name": "linear_autoencoder", "width": 64, "latent": 16}
SWEEP: dict[str, Any] = {
    "name": "sharing",
    "models": [MODEL],
    "datasets": ["digits"],
    "methods": ["imp", "one_shot", "reinit", "shuffle_layer"],
    "sparsities": {"rounds": 1 if SMOKE else 6},
    "seeds": 1 if SMOKE else 2,
    "epochs": 2 if SMOKE else 5,
    "rewind": 1,
    "evaluation": {"distances": {"features": "none"}},
}
DENSE: dict[str, Any] = {
    "name": "busy",
    "models": [MODEL],
    "datasets": ["digits"],
    "methods": ["dense"],
    "seeds": CORES if SMOKE else 4 * CORES,
    "epochs": 2 if SMOKE else 100,
    "evaluation": {"distances": {"features": "none"}},
}

Figures = dict[str, float]


class Meter(threading.Thread):
    """Measures CPU seconds since it was made: of this process with its descendants, and of all other processes.

    It looks every second, because the CPU time of a process cannot be read any more once the process has ended.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._before = self._seen = _ours()
        self._machine, self.began = _machine(), time.time()
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(1):
            self._seen = self._seen | _ours()

    def stop(self) -> Figures:
        """The CPU seconds of our processes, and the share of all cores that others used.

        Call it after the last trial has ended.
        """
        self._over.set()
        self.join()
        seen = self._seen | _ours()
        cpu = sum(seconds - self._before.get(process, 0) for process, seconds in seen.items())
        others = (_machine() - self._machine - cpu) / (time.time() - self.began) / CORES
        return {"cpu": cpu, "others": others}


def timed(meter: Meter, first: float, last: float) -> Figures:
    """The figures of `meter`, start-up until the first trial started, and wall time until the last trial ended."""
    return {"startup": first - meter.began, "wall": last - first, **meter.stop()}


def _machine() -> float:
    """The CPU seconds that the machine has spent, including those that its host took away."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _ours() -> dict[tuple[int, int], float]:
    """The CPU seconds of this process and of each descendant, by process id and start time."""
    parents: dict[int, int] = {}
    births: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid], births[pid] = int(fields[1]), int(fields[19])
        seconds[pid] = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return {(pid, births[pid]): seconds[pid] for pid in seconds if is_ours(pid)}


def trained(stores: Iterable[Store]) -> Figures:
    """The number of epochs in the ledgers of `stores`, and the CPU seconds that they took."""
    records = [record for store in stores for record in Ledger(Objects(store)).all()]
    epochs = [epoch for record in records for epoch in record.epochs]
    return {"epochs": len(epochs), "training": sum(epoch.cpu_seconds for epoch in epochs)}


def chains(plan: Plan) -> list[list[Trial]]:
    """Groups of trials that differ only in sparsity, each with the sparsest trial last."""
    found: dict[str, list[Trial]] = {}
    for planned in plan.trials:
        found.setdefault(canonical_json(planned.trial.model_dump(exclude={"sparsity"})), []).append(planned.trial)
    return [sorted(chain, key=lambda trial: trial.sparsity) for chain in found.values()]


def tombola(trials: tuple[Trial, ...], folder: str, executor: OnRay) -> Figures:
    store, plan = open_store(folder), make_plan(trials)
    work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
    statuses: dict[str, str] = {}
    times: list[float] = []

    def listen(report: Report) -> None:
        if isinstance(report, TrialStarted | TrialEnded):
            times.append(time.time())
        if isinstance(report, TrialEnded):
            statuses[report.trial_id] = report.status

    meter = Meter()
    executor.run(work, store, listen, lambda: False)
    assert list(statuses.values()) == ["done"] * len(trials)
    return {**timed(meter, times[0], times[-1]), **trained([store])}


def ray_tune(groups: list[list[Trial]], folder: str) -> Figures:
    """Run `groups` in Ray Tune: each group is a trial of Tune, with a store of its own."""
    import ray
    from ray import tune

    class Group(tune.Trainable):
        def setup(self, config: dict[str, int], images: data.Split) -> None:  # type: ignore[override]
            self.number, self.images = config["group"], images

        def reset_config(self, new_config: dict[str, int]) -> bool:
            self.number = new_config["group"]
            return True

        def step(self) -> dict[str, Any]:
            from workers.trial import run_trial

            began, store = time.time(), open_store(f"{folder}/{self.number}")
            statuses = [run_trial(trial, store, load=lambda _: self.images) for trial in groups[self.number]]
            assert statuses == ["done"] * len(statuses)
            return {"done": True, "began": began, "ended": time.time()}

        def save_checkpoint(self, folder: str) -> None:
            pass

    class Times(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            times.append((trial.last_result["began"], trial.last_result["ended"]))

    times: list[tuple[float, float]] = []
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    time.sleep(REST)
    trainable = tune.with_parameters(Group, images=data.load(groups[0][0].dataset))
    meter = Meter()
    results = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"group": tune.grid_search(list(range(len(groups))))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=CORES),
        run_config=tune.RunConfig(storage_path=folder, name="tune", callbacks=[Times()], verbose=0),
    ).fit()
    assert len(times) == len(groups)
    assert not results.errors
    begins, ends = zip(*times, strict=True)
    figures = timed(meter, min(begins), max(ends))
    ray.shutdown()
    return {**figures, **trained(open_store(f"{folder}/{number}") for number in range(len(groups)))}


def shared(folder: str) -> Figures:
    with OnRay() as executor:
        time.sleep(REST)
        return tombola(Sweep.model_validate(SWEEP).trials(), folder, executor)


def chained(folder: str) -> Figures:
    return ray_tune(chains(make_plan(Sweep.model_validate(SWEEP).trials())), folder)


def alone(folder: str) -> Figures:
    plan = make_plan(Sweep.model_validate(SWEEP).trials())
    return ray_tune([[planned.trial] for planned in plan.trials], folder)


def busy(folder: str) -> Figures:
    with OnRay() as executor:
        time.sleep(REST)
        # Short trainings from other seeds, enough for every worker, make the workers load torch and the images. They
        # use the same store, because another store would get workers of its own.
        others = DENSE | {"epochs": 1, "seeds": list(range(1000, 1000 + DENSE["seeds"]))}
        before = tombola(Sweep.model_validate(others).trials(), folder, executor)
        figures = tombola(Sweep.model_validate(DENSE).trials(), folder, executor)
    assert figures["epochs"] - before["epochs"] == DENSE["seeds"] * DENSE["epochs"]
    return {**figures, "training": figures["training"] - before["training"]}


WAYS: dict[str, Callable[[str], Figures]] = {"shared": shared, "chained": chained, "alone": alone, "busy": busy}


def measured(way: str) -> Figures:
    """Run one measurement in a process of its own."""
    run = subprocess.run([sys.executable, __file__, way, *sys.argv[1:]], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr)
    figures: Figures = json.loads(run.stdout.splitlines()[-1])
    return figures


def main() -> None:
    plan = make_plan(Sweep.model_validate(SWEEP).trials())
    planned = {"shared": plan.epochs, "chained": plan.epochs_chained, "alone": plan.epochs_alone}
    if SMOKE:  # `alone` runs the same code
        del planned["chained"]
    found = {way: measured(way) for way in planned}
    for way, epochs in planned.items():
        assert found[way]["epochs"] == epochs, f"{way}: {found[way]['epochs']} epochs trained, {epochs} planned"
    columns = {"epochs": 0, "wall": 1, "training": 1, "cpu": 1}
    heads = ["epochs", "wall s", "CPU s of epochs", "CPU s of all"]
    table = Table(f"{len(plan.trials)} trials", *(cell for head in heads for cell in (head, "of shared")), box=None)
    table.add_column("start-up s", justify="right")
    table.add_column("others' use of the cores", justify="right")
    for way, figures in found.items():
        cells = []
        for column, digits in columns.items():
            cells += [f"{figures[column]:,.{digits}f}", f"{figures[column] / found['shared'][column]:.2f}"]
        table.add_row(way, *cells, f"{figures['startup']:.1f}", f"{figures['others']:.0%}")
    for each in table.columns[1:]:
        each.justify = "right"
    console = Console(width=140, highlight=False)
    console.print(table)
    figures = measured("busy")
    wall, least = figures["startup"] + figures["wall"], figures["training"] / CORES
    console.print(
        f"{DENSE['seeds']} dense trainings on {CORES} cores: {wall:.1f} s, {wall / least:.3f} of the {least:.1f} s "
        f"that they take at least (goal: 1.1); others used {figures['others']:.0%} of the cores meanwhile"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(WAYS[sys.argv[1]](folder)))
    else:
        main()
