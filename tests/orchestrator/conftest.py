"""What tests of the orchestrator share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator import cli
from tests.command import Ran, Tombola


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
