"""The time to plan 10,000 trials in an empty store, part by part.

There are five methods, one of which does not share the chain of the others, 20 sparsities and 100 seeds. The script
computes everything that `tombola plan` prints. Only the profiles, which need training, are replaced by constants; their
values do not change the time. Every run starts from the beginning; imports are not counted.

Goal: 10 seconds in all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import kept_bytes, make_plan, verbs
from search_spaces.sweep import Sweep
from workers.settling.distances import Choices
from workers.store.backends import open_store

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

RUNS = 1 if SMOKE else 3
SWEEP: dict[str, Any] = {
    "name": "ten-thousand",
    "models": ["vae"],
    "datasets": ["digits"],
    "methods": ["imp", "one_shot", "reinit", "shuffle_layer", {"name": "imp", "rate": 0.1}],
    "sparsities": {"rounds": 20},
    "seeds": 1 if SMOKE else 100,
    "epochs": 50,
    "rewind": 5,
}

T = TypeVar("T")


class Stopwatch(dict[str, float]):
    """Measures work part by part; holds the seconds of each part by its name."""

    def time(self, part: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = work()
        self[part] = time.perf_counter() - began
        return result


def measure() -> tuple[Stopwatch, dict[str, str]]:
    """Plan the sweep once; return the seconds of each part, and what was planned."""
    watch = Stopwatch()
    sweep = watch.time("Sweep.model_validate", lambda: Sweep.model_validate(SWEEP))
    asked = watch.time("Sweep.trials", sweep.trials)
    with tempfile.TemporaryDirectory() as folder:
        trials = watch.time("Choices.settle", lambda: Choices(open_store(folder)).settle(asked))
    plan = watch.time("make_plan", lambda: make_plan(trials))
    counts = watch.time("stages", lambda: verbs(plan))
    watch.time("points and lines", lambda: (plan.points, plan.lines))
    alone = watch.time("epochs alone", lambda: plan.epochs_alone)
    chained = watch.time("epochs chained", lambda: plan.epochs_chained)
    shared = watch.time("epochs shared", lambda: plan.epochs)
    seconds = watch.time("seconds by line", lambda: dict.fromkeys(plan.makers, 1.0))
    path = watch.time("critical path in epochs", plan.critical_path)
    watch.time("critical path in seconds", lambda: plan.critical_path(seconds))
    watch.time(
        "bytes kept", lambda: kept_bytes(plan, {trial.id: (66_000_000, 22_000_000, 5_000_000) for trial in trials})
    )
    with tempfile.TemporaryDirectory() as folder:
        inventory = watch.time("take_inventory", lambda: take_inventory(plan, open_store(folder)))
    assert inventory.missing == shared, "an empty store lacks everything"
    planned = {"trials": len(trials), "stages": sum(counts.values()), "epochs alone": alone, "chained": chained}
    planned |= {"shared": shared, "on the critical path": round(path)}
    return watch, {name: f"{number:,}" for name, number in planned.items()}


def main() -> None:
    runs = [measure() for _ in range(RUNS)]
    table = Table("seconds", box=None, header_style="bold")
    for i in range(RUNS):
        table.add_column(f"run {i + 1}", justify="right")
    for part in runs[0][0]:
        table.add_row(part, *(f"{watch[part]:.2f}" for watch, _ in runs))
    table.add_row("in all (goal: 10)", *(f"{sum(watch.values()):.2f}" for watch, _ in runs))
    Console().print(table, highlight=False)
    print("planned:", ", ".join(f"{number} {name}" for name, number in runs[0][1].items()))


if __name__ == "__main__":
    main()
