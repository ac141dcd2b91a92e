"""What tests of the orchestrator share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator import cli
from tests.command import Ran, Tombola, write


@pytest.fixture
def tombola(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Tombola:
    """Runs the command in an empty folder, without Ray, which `test_on_ray.py` is about."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ran:
        local = ["--local"] if arguments[0] in ("run", "resume") else []
        monkeypatch.setattr(sys, "argv", ["tombola", *arguments, *local])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    """The file of a toy sweep of a few methods."""
    return write(tmp_path / "sweep.yaml", methods=["dense", "imp", "shuffle_layer"], sparsities={"rounds": 2})
