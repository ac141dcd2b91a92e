"""Whether a sweep takes as long as `tombola plan` says: three kinds of sweep, planned and then run.

One is mostly training. One is mostly measuring: a distance in the features of EfficientNet-Lite0, after every epoch.
One has many trials that train and measure very little. Each is estimated from fresh profiles. Then it runs in the same
process, one trial at a time, as with `--local`. With `--cpu`, both are counted in CPU seconds of a single thread, which
depend less on other work on the same cores.

Goal: planned within 25 % of executed.
"""

from __future__ import annotations

import sys
import time
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.execution.executor import InProcess, profiles_by_trial
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import make_plan
from orchestrator.planning.work import Work
from orchestrator.pricing.estimate import Estimate, estimate
from search_spaces.sweep import Sweep
from workers.profiles.measuring import profile_or_unknown
from workers.settling.distances import Choices
from workers.store.backends import open_store

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

CPU = "--cpu" in sys.argv

COMMON = {"datasets": ["digits"], "epochs": 2 if SMOKE else 3, "rewind": 1, "recipe": {"batch": 100}}
NONE = {"distances": {"features": "none"}}
DCGAN = {"name": "dcgan", "width": 2 if SMOKE else 8, "latent": 16}
SHAPES: dict[str, dict[str, Any]] = {
    "training": {
        "models": [DCGAN],
        "methods": ["imp"],
        "sparsities": {"rounds": 1 if SMOKE else 3},
        "evaluation": NONE,
    },
    "measuring": {
        "models": [DCGAN],
        "methods": ["dense"],
        "seeds": 1,
        "evaluation": NONE
        if SMOKE
        else {"samples": 400, "distances": {"features": "effnet"}, "selection": {"every": 1, "samples": 400}},
    },
    "many tiny trials": {
        "models": [{"name": "linear_autoencoder", "width": 8, "latent": 4}],
        "methods": ["imp", "one_shot", "reinit", "shuffle_layer"],
        "sparsities": {"rounds": 1 if SMOKE else 4},
        "seeds": 1 if SMOKE else 4,
        "evaluation": NONE,
    },
}


def measure(shape: str) -> tuple[Estimate, float]:
    """The estimate of a sweep, and the seconds that the sweep took."""
    sweep = Sweep.model_validate({"name": "estimates", "seeds": 1, **COMMON, **SHAPES[shape]})
    with TemporaryDirectory() as folder:
        store = open_store(folder)
        choices = Choices(store)
        trials = choices.settle(sweep.trials())
        choices.record()
        plan = make_plan(trials)
        # Measure profiles in this process, so that planned and executed times have the same share of a core.
        profiles = profiles_by_trial(plan.models, lambda trial: profile_or_unknown(trial, store))
        figures = estimate(plan, store, profiles)
        work = Work(plan, {trial.id for trial in trials}, take_inventory(plan, store))
        began = time.perf_counter()
        InProcess().run(work, store, lambda report: None, lambda: False)
        seconds = time.perf_counter() - began
        assert take_inventory(plan, store).held == set(plan.stages)
    return figures, seconds


def main() -> None:
    if CPU:  # everything here is timed with this clock
        time.perf_counter = time.process_time
    table = Table("a sweep of", "trials", box=None, header_style="bold")
    for column in ("planned CPU s" if CPU else "planned s", "of which measuring", "executed", "planned / executed"):
        table.add_column(column, justify="right")
    for shape in SHAPES:
        figures, seconds = measure(shape)
        assert figures.hours is not None
        assert figures.measuring_hours is not None
        planned, measuring = 3600 * figures.hours, 3600 * figures.measuring_hours
        cells = (f"{planned:.1f}", f"{measuring:.1f}", f"{seconds:.1f}", f"{planned / seconds:.2f}")
        table.add_row(shape, str(figures.trials), *cells)
    Console(width=120).print(table, highlight=False)


if __name__ == "__main__":
    main()
