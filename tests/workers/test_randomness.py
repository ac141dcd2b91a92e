import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from workers.models.layers.constructing import constructing
from workers.randomness import generator, global_generators

GLOBAL: dict[str, Callable[[], float]] = {
    "torch": lambda: torch.rand(1).item(),
    "numpy": np.random.rand,
    "python": random.random,
}


def test_draws_depend_on_seed_purpose_and_epoch_alone() -> None:
    def draw(seed: int, purpose: str, epoch: int) -> float:
        return torch.rand(1, generator=generator(seed, purpose, epoch)).item()

    assert draw(0, "order", 1) == draw(0, "order", 1)
    assert len({draw(0, "order", 1), draw(1, "order", 1), draw(0, "noise", 1), draw(0, "order", 2)}) == 4


@pytest.mark.parametrize("library", GLOBAL)
def test_global_generators_begin_at_a_seed_and_are_as_they_were_afterwards(library: str) -> None:
    draw, found = GLOBAL[library], []
    for seed in (0, 0, 1):
        for seeding in (global_generators(seed, "layers"), constructing(seed)):
            begun = torch.get_rng_state(), np.random.get_state(), random.getstate()
            expected = draw()
            torch.set_rng_state(begun[0])
            np.random.set_state(begun[1])
            random.setstate(begun[2])
            with seeding:
                found.append(draw())
            assert draw() == expected
    assert found[:2] == found[2:4]
    assert len({*found}) == 4


def test_on_a_cpu_no_gpu_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("a GPU is touched")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    with global_generators(0, "layers"):
        torch.rand(1)
