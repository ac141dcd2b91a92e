"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from workers.models import placing
from workers.store.backends import Store, open_store

os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start: each core has a test of its own
torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def only_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests of one file at a time start Ray, which wants all cores."""
    shared = tmp_path_factory.getbasetemp().parent  # of all processes that run tests
    with FileLock(shared / "ray.lock"):
        yield


@pytest.fixture(autouse=True)
def fresh_memory_is_junk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for weights holds NaN, so that one that nobody draws or restores is seen."""
    placed = placing._placed

    def junk(tensor: Tensor, device: torch.device) -> Tensor:
        room = placed(tensor, device)
        return room.fill_(torch.nan) if tensor.is_meta and room.is_floating_point() else room

    monkeypatch.setattr(placing, "_placed", junk)
