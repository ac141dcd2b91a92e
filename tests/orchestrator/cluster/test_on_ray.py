"""Sweeps on real Ray: the same results as without it, whatever is lost on the way."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from orchestrator import results
from orchestrator.cluster.on_ray import OnRay
from orchestrator.planning.plan import make_plan
from search_spaces import load_sweep
from tests.toys import TOY_MODELS, toy_sweep
from workers.archive.ledger import Ledger
from workers.store.backends import open_store
from workers.store.objects import Objects
from workers.store.presence import running

REPOSITORY = Path(__file__).parents[3]
MAIN = "from orchestrator.cli import main; main()"

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("only_ray")]


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(toy_sweep(**changes)))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", MAIN, *map(str, arguments)]


def tombola(*arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        assert process.poll() is None, f"it ended before that: {process.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_epochs(store: Path, epochs: int, process: subprocess.Popen[str]) -> None:
    wait_for(lambda: len(trained(store)) >= epochs, process)


def masks(store: Path) -> dict[str, bytes]:
    rows = results.masks(str(store))
    return {f"{row.trial_id} {row.parameter}": row.mask for row in rows.itertuples()}


def trained(store: Path) -> list[tuple[str, int]]:
    records = Ledger(Objects(open_store(str(store)))).all()
    return sorted((record.line, epoch.number) for record in records for epoch in record.epochs)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two machines of one core each; tests may add others."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_ray_gives_what_one_process_gives_and_the_driver_imports_no_torch(tmp_path: Path) -> None:
    own = {"plugins": [], "datasets": ["digits"]}  # the toys import torch
    early = {"name": "early_bird", "look_back": 2, "delta": 0.9, "fallback": "filter_norm"}
    methods = ["dense", "imp", "reinit", early]
    sweep = write(tmp_path / "sweep.yaml", **own, methods=methods, recipe={"batch": 100}, epochs=3)
    assert tombola("run", sweep, "--store", tmp_path / "local", "--local").returncode == 0
    code = f"import sys\ntry:\n  {MAIN}\nfinally:\n  print('torch' in sys.modules)"
    arguments = ["run", str(sweep), "--store", str(tmp_path / "ray")]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("False\n")
    assert "stand for the" in ran.stdout
    assert masks(tmp_path / "ray") == masks(tmp_path / "local")
    assert trained(tmp_path / "ray") == trained(tmp_path / "local")
    epochs, plan = trained(tmp_path / "ray"), make_plan(load_sweep(sweep).trials())
    assert len(epochs) == len(set(epochs))
    assert plan.least_epochs <= len(epochs) <= plan.epochs


def test_a_data_set_is_decoded_once_for_all_actors(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    sweep = write(
        tmp_path / "sweep.yaml", datasets=[{"name": "toy_counted_digits", "log": str(tmp_path / "loads")}], seeds=4
    )
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 0, ran.stderr
    threads = set(results.trials(str(store))["threads"])
    assert threads == {1}
    assert (tmp_path / "loads").read_text().count("loaded") == 1


def test_ctrl_c_finishes_the_epochs_and_resume_goes_on(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=100_000, rewind=0, sparsities=[0.2], seeds=2)
    process = start("run", sweep, "--store", store, "--address", cluster.address)
    wait_for(lambda: len(list((store / "objects" / "states").rglob("*.full"))) == 2, process)  # both are initialised
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "tombola resume" in out
    assert len(list((store / "objects" / "states").rglob("*.checkpoint"))) == 2


def test_a_budget_ends_a_sweep_that_can_be_resumed(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=100_000, rewind=0, sparsities=[0.2])
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address, "--max-hours", "0.004")
    assert ran.returncode == 3
    assert "--max-hours 0.004 is spent" in ran.stdout
    write(sweep, epochs=3, sparsities=[0.2])
    assert tombola("resume", sweep, "--store", store, "--address", cluster.address).returncode == 0


def test_no_more_trials_run_at_once_than_asked_for(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    larger = cluster.add_node(num_cpus=2)
    overrides = [{"where": {"seed": 1}, "set": {"resources.cpus": 2}}]  # which takes a worker of another kind
    sweep = write(tmp_path / "sweep.yaml", seeds=3, sparsities=[0.2], overrides=overrides, epochs=20)
    process = start("run", sweep, "--store", store, "--address", cluster.address, "--workers", "1")
    at_once = [0]
    while process.poll() is None:
        at_once.append(len(running(open_store(str(store)))))
        time.sleep(0.1)
    out, _ = process.communicate()
    cluster.remove_node(larger)
    assert process.returncode == 0, out
    assert max(at_once) == 1
    assert list(results.trials(str(store))["status"]) == ["done"] * 3


@pytest.mark.slow
def test_a_failed_stage_once_repaired_lets_its_dependants_run(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    (tmp_path / "broken").touch()
    model = {"name": "faulty", "broken": str(tmp_path / "broken")}
    sweep = write(tmp_path / "sweep.yaml", models=[model], methods=["imp", "reinit"], sparsities={"rounds": 2})
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 1
    rows = results.trials(str(store))
    assert set(rows["status"]) == {"failed"}
    assert rows["error"].str.contains("out of ink").all()
    assert rows["traceback"].str.contains("RuntimeError").all()
    assert trained(store) == []

    (tmp_path / "broken").unlink()
    assert tombola("run", sweep, "--store", store, "--address", cluster.address).returncode == 1
    ran = tombola("resume", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 0, ran.stderr
    assert set(results.trials(str(store))["status"]) == {"done"}


def test_a_trial_whose_worker_is_killed_is_tried_again(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=150, rewind=0, sparsities=[0.2], checkpoint_every={"epochs": 1})
    process = start("run", sweep, "--store", store, "--address", cluster.address)
    wait_for(lambda: any((store / "objects" / "states").rglob("*.checkpoint")), process)
    (sign,) = running(open_store(str(store))).values()
    os.kill(sign["pid"], signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "lost its worker" in out
    assert len(set(trained(store))) == len(trained(store)) == 2 * 150


def test_a_model_that_kills_its_process_fails_alone(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    models = [{"name": "deadly"}, TOY_MODELS["linear_autoencoder"]]
    sweep = write(tmp_path / "sweep.yaml", models=models, methods=["dense"], epochs=2, rewind=0)
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 1, ran.stderr
    assert "a worker was lost while it measured deadly" in " ".join(ran.stderr.split())
    rows = results.trials(str(store)).set_index("model")
    assert rows.loc["linear_autoencoder", "status"] == "done"
    assert rows.loc["deadly", "status"] == "failed"
    assert "lost its worker" in rows.loc["deadly", "error"]


def test_what_needs_too_much_memory_fails_with_a_hint(cluster: Cluster, tmp_path: Path, store: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", models=[{"name": "greedy"}], sparsities=[0.2])
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 1
    assert ran.stdout.count("tried again alone") == 1
    assert "needs a machine with more memory" in results.trials(str(store))["error"][0]


@pytest.mark.slow
def test_a_second_driver_of_a_sweep_is_refused_and_nothing_is_lost(
    cluster: Cluster, tmp_path: Path, store: Path
) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=400, rewind=0, sparsities=[0.2])
    first = start("run", sweep, "--store", store, "--address", cluster.address)
    wait_for(lambda: bool(running(open_store(str(store)))), first)
    write(sweep, epochs=400, rewind=0, sparsities=[0.2, 0.36])
    second = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert second.returncode == 2
    assert f"is already being run in store {store.as_uri()} by process {first.pid}" in second.stderr
    assert second.stderr.count("\n") == 1
    first.communicate(timeout=120)
    assert tombola("run", sweep, "--store", store, "--address", cluster.address).returncode == 0
    assert len(results.trials(str(store))) == 2
    assert len(set(trained(store))) == len(trained(store))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpus": 0.5}, "a trial needs cpus 1 and gpus 0.5 of one machine, but the most .* are cpus 1 and gpus 0"),
        ({"cpus": 3}, "a trial needs cpus 3 and gpus 0 of one machine"),
    ],
)
def test_a_trial_that_no_machine_can_hold_is_refused(
    cluster: Cluster, tmp_path: Path, store: Path, resources: dict[str, float], message: str
) -> None:
    sweep = write(tmp_path / "sweep.yaml", resources=resources)
    ran = tombola("run", sweep, "--store", store, "--address", cluster.address)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert re.search(message, ran.stderr)
    assert not store.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:1", "head.invalid:6379"])
def test_an_address_without_a_cluster_is_one_sentence(tmp_path: Path, store: Path, address: str) -> None:
    sweep = write(tmp_path / "sweep.yaml")
    ran = tombola("run", sweep, "--store", store, "--address", address, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"tombola: --address {address}: ")
    assert ran.stderr.count("\n") == 1
    assert not store.exists()


@pytest.mark.slow
def test_machines_lost_and_added_and_a_killed_driver_change_no_result(tmp_path: Path) -> None:
    """Sixty trials on three machines, of which one after the other vanishes, with workers killed in between."""
    sweep = write(
        tmp_path / "sweep.yaml",
        models=[TOY_MODELS["linear_autoencoder"], TOY_MODELS["dcgan"]],
        methods=["imp", "reinit", "shuffle_layer"],
        sparsities={"rounds": 5},
        seeds=2,
        checkpoint_every={"epochs": 1},
        epochs=6,
    )
    store, chance = tmp_path / "disturbed", random.Random(7)
    undisturbed = start("run", sweep, "--store", tmp_path / "undisturbed", "--local")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        machines = [cluster.add_node(num_cpus=1) for _ in range(3)]
        driver = start("run", sweep, "--store", store, "--address", cluster.address)
        for act in range(8):
            wait_for_epochs(store, len(trained(store)) + 10, driver)
            time.sleep(chance.random())
            if act == 4:
                driver.send_signal(signal.SIGKILL)
                driver.communicate()
                driver = start("resume", sweep, "--store", store, "--address", cluster.address)
            elif act % 2:
                cluster.remove_node(machines.pop(0), allow_graceful=False)
                machines.append(cluster.add_node(num_cpus=1))
            elif signs := list(running(open_store(str(store))).values()):
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(signs)["pid"], signal.SIGKILL)
        out, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, out
    finally:
        cluster.shutdown()
    undisturbed.communicate(timeout=300)
    rows = results.trials(str(store))
    assert list(rows["status"]) == ["done"] * 60
    assert masks(store) == masks(tmp_path / "undisturbed")
    assert len(set(trained(store))) == len(trained(store)), "no committed epoch is trained twice"
    assert trained(store) == trained(tmp_path / "undisturbed")


def test_an_executor_that_is_given_another_store_has_workers_of_their_own_for_it(tmp_path: Path) -> None:
    executor = OnRay()
    first, second = (open_store(str(tmp_path / name)) for name in ("first", "second"))
    assert executor._workers(first).store is executor._workers(first).store is first
    assert executor._workers(second).store is second
