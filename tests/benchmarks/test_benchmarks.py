"""Every script that measures: it runs, at a size that measures nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.datasets import FashionMNIST
from workers import data
from workers.data import DataError

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
NEEDS_FASHION = {"distances"}

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("only_ray")]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs_and_says_what_it_found(script: str) -> None:
    if script in NEEDS_FASHION:
        try:
            data.card(FashionMNIST())
        except DataError as error:
            pytest.skip(str(error))
    command = [sys.executable, f"benchmarks/{script}.py", "--smoke"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_the_page_on_benchmarks_speaks_of_every_script() -> None:
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("benchmarks.md", "paper.md", "findings.md"))
    assert {
        script for script in SCRIPTS if f"benchmarks/{script}.py" in pages or f"benchmarks.{script}" in pages
    } == set(SCRIPTS)
