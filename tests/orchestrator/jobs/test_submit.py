"""Sweeps as jobs of a real Ray cluster."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient

from orchestrator import results
from orchestrator.execution.budget import Limits
from orchestrator.jobs import submit
from orchestrator.jobs.job_server import JobServer, SubmitError
from orchestrator.jobs.submit import entrypoint, job_name, pack
from search_spaces import SweepError
from search_spaces.errors import TombolaError
from tests.toys import toy_sweep
from workers.store import names
from workers.store.backends import open_store
from workers.store.presence import alive, running

PLUGIN = """
from typing import ClassVar, Literal
from search_spaces.models import ModelSpec, models
from workers.models import builders, linear_autoencoder

@models.register
class Travelled(ModelSpec):
    family: ClassVar = "autoencoder"
    name: Literal["travelled"] = "travelled"
    width: int = 4
    latent: int = 2

builders["travelled"] = linear_autoencoder
"""

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("only_ray")]


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a cluster that has tombola installed, but none of the tests' own modules."""
    with socket.socket() as free, socket.socket() as another:
        for each in (free, another):
            each.bind(("127.0.0.1", 0))
        port, agent_port = free.getsockname()[1], another.getsockname()[1]
    # Where clusters share a machine, Ray lets a job's driver join the one that is noted in the temporary folder.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ports = {"dashboard_port": port, "dashboard_agent_listen_port": agent_port}  # another cluster has the default
        head = {"num_cpus": 1, "include_dashboard": True, "temp_dir": folder, **ports}
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
        cluster = Cluster(initialize_head=True, head_node_args=head)
        os.environ["PATH"] = before
        Path(folder, "ray_current_cluster").write_text(cluster.address)  # as `ray start` does
        yield f"http://127.0.0.1:{port}"
        cluster.shutdown()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder: a sweep, the module of a model that it names, and other things that are none of its business."""
    for folder in ("my_lab", "my_lab/__pycache__", "my_lab/.git"):
        (tmp_path / folder).mkdir()
    for file in ("my_lab/__init__.py", "my_lab/huge.bin", "my_lab/__pycache__/old.py", "my_lab/.git/x.py", "secret.py"):
        (tmp_path / file).touch()
    (tmp_path / "my_lab" / "models.py").write_text(PLUGIN)
    return tmp_path


@pytest.fixture
def store(home: Path) -> Path:
    return home / "store"


def toy(folder: Path, **changes: Any) -> Path:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(toy_sweep(**changes)))
    return folder / "sweep.yaml"


def write(home: Path, **changes: Any) -> Path:
    own = {"plugins": ["my_lab.models"], "models": ["travelled"], "datasets": ["digits"], "recipe": {"batch": 100}}
    return toy(home, **{**own, "epochs": 2, "sparsities": [0.2], **changes})


def start(home: Path, address: str, store: str | Path, **environment: str) -> subprocess.Popen[str]:
    code = "from orchestrator.cli import main; main()"
    words = ["submit", home / "sweep.yaml", "--address", address, "--store", store]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def submitted(home: Path, address: str, store: str | Path, **environment: str) -> tuple[int, str, str]:
    process = start(home, address, store, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 180
    while not happened():
        assert process is None or process.poll() is None, f"it ended before that: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_sweep_travels_with_its_plugins_and_submitted_again_resumes(dashboard: str, home: Path, store: Path) -> None:
    write(home)
    # Ray would heed these two before the address that it is given.
    code, out, err = submitted(
        home, dashboard, store, RAY_ADDRESS="127.0.0.1:1", RAY_API_SERVER_ADDRESS="http://nowhere"
    )
    assert code == 0, out + err
    assert "1 done, 0 running" in out, "the driver's own words are told here"
    assert err == ""
    assert list(results.trials(str(store))["status"]) == ["done"]

    code, again, err = submitted(home, dashboard, f"file://{store}")
    assert code == 0, again + err
    assert "this run trained 0" in again
    assert again.count("trials that train alone") == 1, "what the first driver said is not told again"


def test_a_driver_that_fails_gives_its_exit_code(dashboard: str, home: Path, store: Path) -> None:
    (home / "leans.py").write_text("import secret")
    write(home, plugins=["my_lab.models", "leans"])
    code, out, err = submitted(home, dashboard, store)
    assert (code, err) == (2, "")
    assert "cannot import 'leans': ModuleNotFoundError: No module named 'secret'" in out, "it was not named as a plugin"


@pytest.mark.slow
def test_a_running_sweep_is_submitted_once_outlives_its_watcher_and_stops_in_peace(
    dashboard: str, home: Path, store: Path
) -> None:
    write(home, name="long", epochs=100_000, rewind=0)
    name = job_name("long", str(store))
    watcher = start(home, dashboard, store)
    wait_for(lambda: running(open_store(str(store))), watcher)

    code, out, err = submitted(home, dashboard, store)
    assert (code, out) == (2, "")
    assert err.startswith(f"tombola: the sweep is being run already, as job {name}")

    watcher.send_signal(signal.SIGINT)
    out, err = watcher.communicate(timeout=120)
    assert (watcher.returncode, err) == (130, "")
    assert f"`ray job stop {name} --address {dashboard}` stops it; `tombola status" in out

    jobs = JobSubmissionClient(dashboard)
    assert jobs.get_job_status(name) == JobStatus.RUNNING
    jobs.stop_job(name)
    wait_for(lambda: jobs.get_job_status(name).is_terminal())
    assert jobs.get_job_status(name) == JobStatus.STOPPED
    assert "Finishing the epoch" in jobs.get_job_logs(name)
    assert list((store / "objects" / "states").rglob("*.checkpoint")), "it had the time to keep what it did"
    assert alive(open_store(str(store)), names.driver("long")) is None


def test_the_driver_resumes_within_the_budgets_given() -> None:
    words = entrypoint("my sweep.yaml", "/mnt/store", Limits(hours=2, gpu_hours=0.5))
    start = "tombola resume 'my sweep.yaml' --store /mnt/store --address auto"
    assert words == f"{start} --max-hours 2 --max-gpu-hours 0.5"
    assert entrypoint("s.yaml", "/mnt/store", Limits(), keep_code=True).endswith("--address auto --keep-code")


def test_only_the_sweep_and_the_users_own_code_travel(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(home))
    folder = home / "travels"
    folder.mkdir()
    pack(write(home), ["my_lab.models", "my_lab", "mlxtend.data", "json", "sys", "workers.models"], folder)
    travelling = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert travelling == {"sweep.yaml", "my_lab/__init__.py", "my_lab/models.py"}


def test_a_job_is_named_after_its_sweep_and_store() -> None:
    assert job_name("toy", "/mnt/store") == job_name("toy", "file:///mnt/store")
    assert len({job_name("toy", "/mnt/store"), job_name("toy", "/mnt/other"), job_name("other", "/mnt/store")}) == 3


ODD = ["http://[::1", "http://head:99999", "http://a..b:1", "http://my head:1", "http:///", f"http://{'x' * 300}:1"]


@pytest.mark.parametrize("address", [*ODD, "http://\ud800:1"])
def test_an_odd_address_is_refused_in_one_sentence(address: str) -> None:
    with pytest.raises(SubmitError, match=r"^--address http://[^\n]*(is no address|no job server)[^\n]*$"):
        JobServer(address)


@pytest.mark.parametrize(
    ("address", "store", "message"),
    [
        ("http://127.0.0.1:1", "/tmp/store", "--address http://127.0.0.1:1: no job server can be reached there: "),
        ("http://head:x", "/tmp/store", "--address http://head:x: is no address of a job server, such as http"),
        ("127.0.0.1:8265", "/tmp/store", "--address 127.0.0.1:8265: is no address of a job server, such as http"),
        ("ray://head:10001", "/tmp/store", "--address ray://head:10001: is no address of a job server, such as http"),
        ("http://127.0.0.1:1", "store", "--store store: is relative to a folder of this machine"),
        ("http://127.0.0.1:1", "ftp://x/y", "--store ftp://x/y: not a store that tombola can open"),
    ],
)
def test_what_cannot_be_submitted_is_one_sentence(tmp_path: Path, address: str, store: str, message: str) -> None:
    with pytest.raises(TombolaError, match=f"^{re.escape(message)}[^\n]*$"):
        submit.submit(toy(tmp_path), store, address, Limits())


def test_a_cluster_that_wants_another_token_says_so(tmp_path: Path) -> None:
    class Forbids(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Forbids) as server:
        threading.Thread(target=server.serve_forever).start()
        with pytest.raises(submit.SubmitError, match="this cluster wants its token, or another one: set RAY_AUTH_MODE"):
            submit.submit(toy(tmp_path), "/tmp/store", f"http://127.0.0.1:{server.server_port}", Limits())
        server.shutdown()


def test_a_bad_sweep_does_not_travel(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="sparsity 20 is outside"):
        submit.submit(toy(tmp_path, sparsities=[20]), "/tmp/store", "http://127.0.0.1:1", Limits())
