"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from workers.models import placing
from workers.store.backends import Store, open_store

os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start: each core has a test of its own
torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def fresh_memory_is_junk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for weights holds NaN, so that one that nobody draws or restores is seen."""
    placed = placing._placed

    def junk(tensor: Tensor, device: torch.device) -> Tensor:
        room = placed(tensor, device)
        return room.fill_(torch.nan) if tensor.is_meta and room.is_floating_point() else room

    monkeypatch.setattr(placing, "_placed", junk)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, where they share what they made; those that start Ray have one."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
