"""What removing channels saves: training steps of a dense DCGAN against steps of its compact networks.

Width 64, images of 3x32x32, batches of 100, one thread. Images are random, because the time of a step does not depend
on them. The same fraction of every group of hidden channels is removed, rounded to whole channels. A second set of
networks keeps multiples of 8 channels, which may be faster. All networks take turns in one process, so that other work
on the machine affects all of them equally. A step is that of `workers.training.loop.train`: losses, gradients,
optimizers and masking. FLOPs are those that the step executes.

Goal: at 70 % of the channels removed, the share of time saved is at least 0.90 of the share of FLOPs saved.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from search_spaces.models import DCGAN
from search_spaces.trial import Recipe, Resources
from workers import device
from workers.channels.compaction import Compaction
from workers.channels.kept import ChannelGroup, channel_groups, expand
from workers.costs.flops import FlopCounter
from workers.masks import Mask
from workers.models import Family, build, initialise, materialise
from workers.models.state import capture, restore
from workers.training.loop import Epoch, optimizers_of, train

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

MODEL, IMAGE, RECIPE = DCGAN(width=32 if SMOKE else 64), (3, 32, 32), Recipe(batch=10 if SMOKE else 100)
REMOVED, MULTIPLES = (0.3, 0.5, 0.7), (1, 8)
STEPS, ROUNDS = (1, 2) if SMOKE else (5, 11)


@dataclass
class Contender:
    """A network in training: each `next` on its `epochs` trains one epoch."""

    name: str
    removed: float
    epochs: Iterator[Epoch]
    flops: int
    seconds: list[float] = field(default_factory=list)


def contender(name: str, removed: float, mask: Mask | None, images: Tensor) -> Contender:
    family = build(MODEL, IMAGE)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    if mask is not None:
        compaction, whole = Compaction(build(MODEL, IMAGE), mask), capture(family, {})
        family, mask = compaction.family(), compaction.mask
        materialise(family, torch.device("cpu"))
        restore(compaction.compact(whole), family, {})
    with FlopCounter() as counter:
        next(trained(family, mask, images[: RECIPE.batch]))
    return Contender(name, removed, trained(family, mask, images), counter.total)


def trained(family: Family, mask: Mask | None, images: Tensor) -> Iterator[Epoch]:
    return train(family, optimizers_of(family, RECIPE), mask, images, RECIPE, 0, 0, ROUNDS + 1)


def first_channels(group: ChannelGroup, removed: float, multiple: int) -> Tensor:
    """Whether each channel is kept: the first ones are, because the choice does not change the time of a step."""
    return torch.arange(group.size) < multiple * round((1 - removed) * group.size / multiple)


def measure() -> list[Contender]:
    """All networks, the dense one first, with the seconds of their steps."""
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(256, (STEPS * RECIPE.batch, *IMAGE), dtype=torch.uint8, generator=noise)
    family = build(MODEL, IMAGE)
    groups = channel_groups(family.networks)
    contenders = [contender("dense", 0.0, None, images)]
    for multiple in MULTIPLES:
        for removed in REMOVED:
            kept = {group.name: first_channels(group, removed, multiple) for group in groups}
            name = f"{removed:.0%} removed" + (f", multiples of {multiple}" if multiple > 1 else "")
            contenders.append(contender(name, removed, expand(groups, kept, family.prunable()), images))
    for turn in range(ROUNDS + 1):
        for each in contenders:
            began = time.perf_counter()
            next(each.epochs)
            if turn:  # the first epoch also allocates memory and chooses kernels
                each.seconds.append((time.perf_counter() - began) / STEPS)
    return contenders


def main() -> None:
    device.prepare(Resources(cpus=1))
    dense, *compact = measure()
    table = Table(box=None, header_style="bold")
    for column in ("a step", "median ms", "quartiles", "GFLOP", "FLOPs", "time", "time saved / FLOPs saved", "goal"):
        table.add_column(column)
    table.add_row(dense.name, *_milliseconds(dense), f"{dense.flops / 1e9:.2f}")
    for each in compact:
        flops = each.flops / dense.flops
        spent = statistics.median(each.seconds) / statistics.median(dense.seconds)
        ratios = (f"{flops:.3f}", f"{spent:.3f}", f"{(1 - spent) / (1 - flops):.3f}")
        goal = "0.90" if each.removed == max(REMOVED) else ""
        table.add_row(each.name, *_milliseconds(each), f"{each.flops / 1e9:.2f}", *ratios, goal)
    Console(width=120).print(table, highlight=False)


def _milliseconds(contender: Contender) -> tuple[str, str]:
    low, middle, high = (1e3 * quartile for quartile in statistics.quantiles(contender.seconds))
    return f"{middle:.1f}", f"{low:.1f} to {high:.1f}"


if __name__ == "__main__":
    main()
