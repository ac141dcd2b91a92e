"""The time of a training step: our dense step against a plain loop, and masking against our dense step.

DCGAN of width 32 on 1x32x32 digits, batches of 100, one thread. Three loops take turns in one process, so that other
work on the machine affects all of them equally:

- plain: the loop as most people write it, on contiguous weights;
- dense: `workers.training.loop.train` without a mask, including its work once an epoch;
- masking: the work of `train` after an update that keeps a phase at sparsity 0.8, for both phases of a step.

Goals: a dense step takes at most 0.85 of a plain one, masking at most 1 % of a dense step.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from search_spaces.base.sparsity import density_of
from search_spaces.datasets import Digits
from search_spaces.models import DCGAN
from search_spaces.trial import Recipe, Resources
from workers import data, device
from workers.masks import Mask, keep_top
from workers.models import build, initialise, materialise
from workers.models.families import GAN, Family
from workers.models.families.family import Loss
from workers.pruning import magnitude
from workers.training.loop import _Masking, optimizers_of, train

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

MODEL, RECIPE, SPARSITY = DCGAN(width=8 if SMOKE else 32), Recipe(batch=10 if SMOKE else 100), 0.8
STEPS, ROUNDS = (1, 2) if SMOKE else (5, 25)


class Probed(Family):
    """A GAN that masks a phase itself after its update, and records the seconds of masking in each step.

    `train` calls `updated` right after the place where it masks, so the caches hold the same as in sparse training.
    """

    phases = GAN.phases
    bodies = GAN.bodies

    def __init__(self, family: Family, mask: Mask) -> None:
        super().__init__(dict(family.networks.items()), family.latent, family.precision)
        self._family = family
        self._maskings = {phase: _Masking(family, family.parameters_of(phase), mask) for phase in self.phases}
        self.seconds: list[float] = []

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        return self._family.losses(images, noise)

    def updated(self, phase: str) -> None:
        began = time.perf_counter()
        self._maskings[phase].apply()
        spent = time.perf_counter() - began
        if phase == next(iter(self.phases)):
            self.seconds.append(0.0)
        self.seconds[-1] += spent


def ours(family: Family, images: Tensor) -> Iterator[object]:
    """Our own loop without a mask; each `next` trains one epoch."""
    return train(family, optimizers_of(family, RECIPE), None, images, RECIPE, 0, 0, ROUNDS + 1)


def plain(images: Tensor) -> Iterator[object]:
    """The textbook loop on the same networks; each `next` trains one epoch."""
    family = build(MODEL, (1, 32, 32))
    family.networks.to_empty(device="cpu")
    initialise(family, 0, "initial")
    discriminator, generator = family.networks["discriminator"].train(), family.networks["generator"].train()
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=RECIPE.lr)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=RECIPE.lr)
    real, fake = torch.ones(RECIPE.batch, 1), torch.zeros(RECIPE.batch, 1)
    while True:
        discriminator_total, generator_total = 0.0, 0.0
        for indices in torch.randperm(len(images)).split(RECIPE.batch):
            batch = images[indices].float() / 127.5 - 1
            fakes = generator(torch.randn(RECIPE.batch, MODEL.latent))

            discriminator_optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(discriminator(batch), real)
            loss = loss + F.binary_cross_entropy_with_logits(discriminator(fakes.detach()), fake)
            loss.backward()
            discriminator_optimizer.step()
            discriminator_total += loss.item()

            generator_optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(discriminator(fakes), real)
            loss.backward()
            generator_optimizer.step()
            generator_total += loss.item()
        yield discriminator_total / STEPS, generator_total / STEPS


def initialised() -> Family:
    family = build(MODEL, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def measure() -> dict[str, list[float]]:
    """The seconds of a step of each loop; the loops take turns after each epoch."""
    images = torch.from_numpy(data.load(Digits()).train[: STEPS * RECIPE.batch])
    family = initialised()
    probed = Probed(family, keep_top(magnitude(family.prunable()), density_of(SPARSITY)))
    loops = {"plain": plain(images), "dense": ours(initialised(), images), "probed": ours(probed, images)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS + 1):
        for name, loop in loops.items():
            # Our trials run deterministic algorithms, a textbook loop does not, so our time includes their cost.
            torch.use_deterministic_algorithms(name != "plain")
            began = time.perf_counter()
            next(loop)
            seconds[name].append((time.perf_counter() - began) / STEPS)
    # Leave out the first epoch, which also allocates memory and chooses kernels.
    return {"plain": seconds["plain"][1:], "dense": seconds["dense"][1:], "masking": probed.seconds[STEPS:]}


def main() -> None:
    device.prepare(Resources(cpus=1))
    torch.manual_seed(0)
    seconds = measure()
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    table = Table("a step of", "median ms", "quartiles", "is", "goal", box=None, header_style="bold")
    table.add_row("plain loop", *_milliseconds(seconds["plain"]))
    relative = f"{median['dense'] / median['plain']:.3f} of plain"
    table.add_row("tombola, dense", *_milliseconds(seconds["dense"]), relative, "0.85")
    relative = f"{median['masking'] / median['dense']:.3%} of dense"
    table.add_row(f"masking at {SPARSITY}", *_milliseconds(seconds["masking"]), relative, "1 %")
    Console().print(table, highlight=False)


def _milliseconds(seconds: Sequence[float]) -> tuple[str, str]:
    low, middle, high = (1e3 * quartile for quartile in statistics.quantiles(seconds))
    return f"{middle:.3f}", f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    main()
