"""Sweeps as jobs of a real Ray cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from orchestrator import results
from orchestrator.budget import Limits
from orchestrator.submit import Submission, SubmitError, local_code
from search_spaces import load_sweep
from tests.toys import toy_sweep
from workers.presence import running
from workers.store import open_store

PLUGIN = """
from typing import Literal
from search_spaces.models import ModelSpec, models
from workers.models import builders, linear_autoencoder

@models.register
class Travelled(ModelSpec):
    name: Literal["travelled"] = "travelled"
    width: int = 4

builders["travelled"] = linear_autoencoder
"""


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a cluster that has tombola installed, but none of the tests' own modules."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True, "dashboard_port": port}
    )
    os.environ["PATH"] = before
    yield f"http://127.0.0.1:{port}"
    cluster.shutdown()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder: a sweep, the module of a model that it names, and other things that are none of its business."""
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").touch()
    (tmp_path / "my_lab" / "models.py").write_text(PLUGIN)
    (tmp_path / "my_lab" / "huge.bin").write_bytes(b"0")
    (tmp_path / "secret.py").touch()
    return tmp_path


def write(home: Path, **changes: Any) -> Path:
    path = home / "sweep.yaml"
    own = {"plugins": ["my_lab.models"], "models": ["travelled"], "datasets": ["digits"], "recipe": {"batch": 100}}
    path.write_text(yaml.safe_dump(toy_sweep(**{**own, "epochs": 2, "sparsities": [0.2], **changes})))
    return path


def submit(home: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    code = "from orchestrator.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(home)}
    words = [sys.executable, "-c", code, "submit", str(home / "sweep.yaml"), *arguments]
    return subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, timeout=timeout)


def test_a_sweep_travels_with_its_plugins_and_runs_once(dashboard: str, home: Path) -> None:
    write(home)
    store = home / "store"
    ran = submit(home, "--address", dashboard, "--store", str(store))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 done, 0 running" in ran.stdout, "the driver's own words are told here"
    assert list(results.trials(str(store))["status"]) == ["done"]

    again = submit(home, "--address", dashboard, "--store", str(store))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "this run trained 0" in again.stdout


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*", "ignore:ssl=None:DeprecationWarning")  # Ray's own
def test_a_sweep_that_runs_is_not_submitted_again(dashboard: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(home))
    store = home / "store"
    file = write(home, name="long", epochs=100_000, rewind=0)
    submission = Submission(file, load_sweep(file), str(store), dashboard)
    submission.start(Limits(hours=0.02))
    with pytest.raises(SubmitError, match=f"'long' is being run already, as job {submission.id}"):
        Submission(file, load_sweep(file), str(store), dashboard).start(Limits())
    assert submission.follow() == 3, "the budget was handed on"
    assert not running(open_store(str(store)))


def test_only_what_is_needed_travels(dashboard: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(home))
    file = write(home)
    with Submission(file, load_sweep(file), str(home / "store"), dashboard)._files() as folder:
        travelling = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert travelling == {"sweep.yaml", "my_lab/__init__.py", "my_lab/models.py"}


def test_installed_packages_do_not_travel() -> None:
    assert local_code(["mlxtend.data", "json", "workers.models"]) == set()


@pytest.mark.parametrize(
    ("address", "store", "message"),
    [
        ("http://127.0.0.1:1", "/tmp/store", "--address http://127.0.0.1:1: no Ray cluster can be reached there"),
        ("127.0.0.1:8265", "/tmp/store", "--address 127.0.0.1:8265: give the dashboard of the cluster, such as http"),
        ("http://127.0.0.1:1", "store", "--store store: give an absolute path"),
    ],
)
def test_what_cannot_be_submitted_is_one_sentence(home: Path, address: str, store: str, message: str) -> None:
    write(home)
    ran = submit(home, "--address", address, "--store", store, timeout=40)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"tombola: {message}")
    assert ran.stderr.count("\n") == 1
