"""Means over images, taken in batches because all images may not fit on the device at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

SIZE = 500
"""Images evaluated at a time. In evaluation mode images do not influence each other."""


def mean_over(images: Tensor, measure: Callable[[Tensor], Mapping[str, Tensor]]) -> dict[str, float]:
    """The mean over all images of each value that `measure` returns, summed in float64.

    `measure` takes a batch of N images and returns tensors (N,) by name, one value for each image.
    """
    sums: dict[str, float] = {}
    for batch in images.split(SIZE):
        for name, values in measure(batch).items():
            assert len(values) == len(batch)
            sums[name] = sums.get(name, 0.0) + float(values.double().sum())
    return {name: total / len(images) for name, total in sums.items()}
