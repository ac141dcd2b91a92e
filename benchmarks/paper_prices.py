"""What the sweeps of `search_spaces/paper/` would train and cost, with the paper's own numbers for each.

The script trains and measures nothing and needs no data. It plans each sweep for an empty store and computes GPU-hours
from an assumed throughput. The last line is for all sweeps in one store, where they share stages.

Goal: each within 10 seconds.

    .venv/bin/python -m benchmarks.paper_prices
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.execution.executor import profiles_by_trial
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.pricing.price import TFLOPS, gpu_hours, price
from search_spaces import load_sweep
from workers import data
from workers.profiles.measuring import sizes_or_unknown
from workers.settling.distances import Choices
from workers.store.backends import open_store

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

FOLDER = Path("search_spaces/paper")
ROWS = {
    "linear_ae": ("Table 1, linear AE", "wins at 89.2 %"),
    "conv_ae": ("Table 1, conv AE", "wins at 95.6 % (CIFAR-10), 98.5 % (CelebA)"),
    "vae": ("Table 1, VAE", "wins at 79 %"),
    "beta_vae": ("Table 1, beta-VAE", "wins at 86.5 %"),
    "resnet_vae": ("Table 1, ResNet-VAE", "wins at 93.1 %"),
    "dcgan": ("Table 1, DCGAN", "wins at 83.2 %"),
    "sngan": ("Table 1, SNGAN", "wins at 89.2 %"),
    "resnet_dcgan": ("Table 1, ResNet-DCGAN", "wins at 79 %"),
    "wgan": ("Table 1, WGAN", "wins at 73.7 % (CIFAR-10), 59 % (CelebA)"),
    "table2": ("Table 2, fp32", "FID, FLOPs and s: dense 37.71, 1.12e16, 4,590.5; early-bird 33.49, 0.13e16, 2,417.1"),
    "table2_bf16": ("Table 2, mixed precision", "FID, FLOPs and s: early-bird 34.28, 0.13e16, 2,131.1"),
    "figure3": ("Figure 3, rewinding and one shot", "wins at 83.2 %, by late rewinding"),
    "components_dcgan": ("one component of a DCGAN", "about 50 % of the network"),
    "components_vae": ("one component of a VAE", "about 50 % of the network"),
    "convergence": ("early stopping", "not in numbers"),
    "figure8": ("Figure 8, transfer", "holds to about 80 %"),
}
"""The part of the paper that each sweep repeats, and the paper's own numbers, by the name of the sweep."""

HEADER = (
    "row",
    "sweep",
    "the paper",
    "trials",
    "epochs alone",
    "shared",
    "FLOPs alone",
    "shared",
    "GPU-hours alone",
    "shared",
)


def planned(sweeps: Iterable[str]) -> Plan:
    """The plan of all trials of `sweeps`."""
    with TemporaryDirectory() as folder:
        choices = Choices(open_store(folder), planning=True)
        trials = [trial for name in sweeps for trial in choices.settle(load_sweep(FOLDER / f"{name}.yaml").trials())]
        return make_plan(trials, data.card_or_nominal)


def figures(plan: Plan) -> list[str]:
    cost = price(plan, profiles_by_trial(plan.models, sizes_or_unknown))
    hours = (gpu_hours(flops, TFLOPS) for flops in (cost.alone, cost.shared))
    return [
        *(f"{count:,}" for count in (len(plan.trials), plan.epochs_alone, plan.epochs)),
        *(f"{flops:.2e}" for flops in (cost.alone, cost.shared)),
        *(f"{each:,.1f}" for each in hours),
    ]


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ROWS), "every sweep has its row"
    print(line(HEADER), line(["---"] * 3 + ["---:"] * 7), sep="\n")
    rows = dict(list(ROWS.items())[:1]) if SMOKE else ROWS
    seconds = []
    for name, (row, said) in rows.items():
        began = time.perf_counter()
        print(line([row, f"`{name}.yaml`", said, *figures(planned([name]))]))
        seconds.append(time.perf_counter() - began)
    print(line(["all, in one store", "", "", *figures(planned(rows))]))
    print(f"\nGPU-hours at {TFLOPS} TFLOP/s; a sweep was planned and priced in {max(seconds):.1f} s at most.")


if __name__ == "__main__":
    main()
