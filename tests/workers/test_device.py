"""The device of a trial, as far as it can be told without a GPU."""

from __future__ import annotations

import pytest
import torch

from search_spaces.trial import Resources
from workers import device


def test_a_trial_that_shares_a_gpu_takes_its_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    assert device.prepare(Resources(gpus=0.25)).type == "cuda"
    assert device.prepare(Resources(gpus=1)).type == "cuda"
    assert shares == [0.25], "a whole GPU has no limit"


def test_a_trial_has_as_many_threads_as_cores() -> None:
    before = torch.get_num_threads()
    try:
        device.prepare(Resources(cpus=2))
        assert torch.get_num_threads() == 2
        device.prepare(Resources(cpus=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
