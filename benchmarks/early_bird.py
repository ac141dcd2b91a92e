"""The cost of a whole early-bird training, search included, against a dense training, on Fashion-MNIST.

DCGAN of width 32 on 1x32x32 images, a tenth of the training images, 20 epochs, one thread. When the mask emerges, 70 %
of the hidden channels are removed; the settings are those of the literature (five masks, 0.1). Both are ordinary
trials of tombola. They run in turns, each in a store of its own, and their costs are read from their rows.

Needs Fashion-MNIST: Debian's package dataset-fashion-mnist, or TOMBOLA_DATA.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator import results
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers.store.backends import open_store
from workers.trial import run_trial

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works, on digits."""

EARLY_BIRD = {"name": "early_bird", "look_back": 2, "delta": 0.9} if SMOKE else "early_bird"
SWEEP: dict[str, Any] = {
    "name": "early-bird",
    "models": [{"name": "dcgan", "width": 4 if SMOKE else 32, "latent": 32}],
    "datasets": [{"name": "digits" if SMOKE else "fashion_mnist", "fraction": 0.1}],
    "methods": ["dense", EARLY_BIRD],
    "sparsities": [0.7],
    "seeds": 1,
    "epochs": 4 if SMOKE else 20,
    "recipe": {"lr": 2e-4, "betas": [0.5, 0.999]},
    "evaluation": {"samples": 100, "grid": 0, "distances": {"features": "none"}},
}
ROUNDS = 1 if SMOKE else 2
QUANTITIES = ("seconds", "cpu_seconds", "flops", "epochs")


def measured(trial: Trial) -> dict[str, float]:
    """Run a trial; return its total cost, the seconds of its search, and the epoch at which the mask emerged."""
    with TemporaryDirectory() as folder:
        uri = str(Path(folder) / "store")
        status = run_trial(trial, open_store(uri))
        row: Any = results.trials(uri).iloc[0]
    assert status == "done", row["error"]
    return {
        **{what: row[f"search_{what}"] + row[f"ticket_{what}"] for what in QUANTITIES},
        "search": row["search_seconds"],
        "emerged": row["emergence_epoch"],
    }


def main() -> None:
    dense, early = Sweep.model_validate(SWEEP).trials()
    rounds = [(measured(dense), measured(early)) for _ in range(ROUNDS)]
    whole, bird = ({k: statistics.median(r[i][k] for r in rounds) for k in rounds[0][0]} for i in (0, 1))
    table = Table("20 epochs", "seconds", "CPU s", "TFLOP", "search s", "emerged at", box=None, header_style="bold")
    for name, took in (("dense", whole), ("early-bird, 70 % of channels removed", bird)):
        searched = (f"{took['search']:.1f}", f"{took['emerged']:.0f}") if took["search"] else ("", "")
        table.add_row(
            name, f"{took['seconds']:.1f}", f"{took['cpu_seconds']:.1f}", f"{took['flops'] / 1e12:.2f}", *searched
        )
    saved = {what: 1 - bird[what] / whole[what] for what in QUANTITIES}
    console = Console(width=120)
    console.print(table, highlight=False)
    console.print(
        f"saved: {saved['flops']:.1%} of FLOPs, {saved['seconds']:.1%} of seconds, {saved['cpu_seconds']:.1%} of CPU "
        f"seconds; time saved / FLOPs saved {saved['cpu_seconds'] / saved['flops']:.3f}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
