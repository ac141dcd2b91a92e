"""Which GPUs of a machine the driver sees."""

from pathlib import Path

import pytest

from orchestrator.cluster.gpus import gpus_here


@pytest.mark.parametrize(("hidden", "seen"), [(None, 2), ("0", 2), ("", 0), ("-1", 0)])
def test_gpus_are_counted_by_their_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str | None, seen: int
) -> None:
    for device in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / device).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpus_here(tmp_path) == seen
