"""The device of a trial, as far as it can be told without a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


CPU, GPU = torch.device("cpu"), torch.device("cuda")
MB = 10**6


REPOSITORY = Path(__file__).parents[2]
PEAKS = """
import torch
from workers.device import peak_memory, reset_peak_memory
cpu = torch.device("cpu")
reset_peak_memory(cpu)
print(peak_memory(cpu))
tensor = torch.ones(200_000_000, dtype=torch.uint8)
print(peak_memory(cpu))
del tensor
print(peak_memory(cpu))
reset_peak_memory(cpu)
print(peak_memory(cpu))
"""


def test_peak_memory_is_of_what_came_after_the_last_reset() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this process may not reset its high-water mark")
    # In a process of its own, in which no other test lets go of memory meanwhile
    measured = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    before, held, let_go, again = map(int, measured.stdout.split())
    assert held - before == pytest.approx(200 * MB, rel=0.1)
    assert let_go == pytest.approx(held, abs=10 * MB), "a peak outlives what made it"
    assert again < before + 50 * MB


@pytest.mark.parametrize("status", [None, "Name:\tpython\n"])
def test_where_the_peak_is_not_in_proc_it_is_that_since_the_process_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str | None
) -> None:
    monkeypatch.setattr(device, "_PROCESS", tmp_path / "proc")
    if status is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/status").write_text(status)
    device.reset_peak_memory(CPU)
    assert 10 * MB < device.peak_memory(CPU) < 10**12


def test_a_mark_that_may_not_be_reset_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "clear_refs").mkdir()  # cannot be written by anybody
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t 9999 kB\nVmHWM:\t    2084 kB\n")
    monkeypatch.setattr(device, "_PROCESS", tmp_path)
    device.reset_peak_memory(CPU)
    assert device.peak_memory(CPU) == 2084 * 1024


def test_the_peak_of_a_gpu_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", resets.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {GPU: 5 * MB}.__getitem__)
    device.reset_peak_memory(GPU)
    assert resets == [GPU]
    assert device.peak_memory(GPU) == 5 * MB
