"""The size of packed masks, against the entropy bound of independent draws: N H(d) / 8 bytes for N weights, density d.

Uniformly random masks are the worst case, because only their density is known beforehand. Magnitude masks of
initialised networks keep a different share of each layer, so they can be smaller than the bound. The header is the
part of the packed bytes that lists the tensors. Its size is nearly fixed, so its share is largest if few weights are
kept.

Goal: at most 1.05 of the bound, header included.
"""

from __future__ import annotations

import math
import sys

import torch
from rich.console import Console
from rich.table import Table

from search_spaces.base.sparsity import density_of
from search_spaces.models import DCGAN
from workers.masks import Mask, keep_top
from workers.masks.mask import _LENGTHS
from workers.models import Family, build, initialise, materialise
from workers.pruning import magnitude, random
from workers.randomness import generator

SMOKE = "--smoke" in sys.argv
"""Whether this run only checks that the script works."""

WIDTHS = (4,) if SMOKE else (32, 128)
"""The width of a small network, and the width that Kalibhat et al. (2021) use."""

SPARSITIES = (0.2, 0.36, 0.5, 0.67, 0.8, 0.9, 0.95, 0.98, 0.99)
GOAL = 1.05


def initialised(width: int) -> Family:
    family = build(DCGAN(width=width), (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    return family


def bound(mask: Mask) -> float:
    """The entropy in bytes of independent draws with the density of `mask`: no code is smaller on average."""
    density = mask.kept / mask.size
    return -mask.size * sum(p * math.log2(p) for p in (density, 1 - density)) / 8


def cells(mask: Mask) -> tuple[str, str, str]:
    """Cells of the table: packed bytes, their ratio to the bound, and the share of the header."""
    packed = mask.pack()
    assert Mask.unpack(packed) == mask, "a mask that does not come back has no size"
    ratio = len(packed) / bound(mask)
    header = _LENGTHS.size + _LENGTHS.unpack_from(packed)[0]
    return f"{len(packed):,}", f"{ratio:.4f}{' *' if ratio > GOAL else '  '}", f"{header / len(packed):.2%}"


def main() -> None:
    for width in WIDTHS:
        weights = initialised(width).prunable()
        scores = {"random": random(weights, generator(0, "random")), "magnitude": magnitude(weights)}
        size = sum(weight.numel() for weight in weights.values())
        table = Table(title=f"DCGAN of width {width}: {size:,} weights", box=None, header_style="bold")
        for column in ("sparsity", "bound", *(c for kind in scores for c in (kind, "of bound", "header"))):
            table.add_column(column, justify="right")
        for sparsity in SPARSITIES:
            masks = [keep_top(score, density_of(sparsity)) for score in scores.values()]
            table.add_row(f"{sparsity:g}", f"{bound(masks[0]):,.0f}", *(cell for mask in masks for cell in cells(mask)))
        Console().print(table, highlight=False)
    print(f"Sizes in bytes; header: its share of them; *: above the goal of {GOAL}.")


if __name__ == "__main__":
    main()
