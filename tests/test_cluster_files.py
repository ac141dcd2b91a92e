"""The cluster files: what Ray's own schema says of them, and what it does not see."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.cluster.machines import GROWS

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "cluster.local.yaml")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
SETUPS = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
LABEL = f"--labels={'='.join(GROWS)}"


def cluster(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / file).read_text()))


def start(config: dict[str, Any], key: str) -> str:
    """The one command among those of `key` that starts Ray."""
    (command,) = (command for command in config[key] if "ray start" in command)
    return str(command)


def worker_types() -> list[dict[str, Any]]:
    config = cluster("cluster.yaml")
    return [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]


@pytest.mark.parametrize("file", FILES)
def test_ray_accepts_the_file(file: str) -> None:
    validate_config(prepare_config(cluster(file)))


@pytest.mark.parametrize("file", FILES)
def test_every_command_is_shell(file: str) -> None:
    config = cluster(file)
    for command in [command for key in (*SETUPS, *STARTS) for command in config.get(key, [])]:
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)


@pytest.mark.parametrize("file", FILES)
def test_what_is_installed_is_what_is_pinned(file: str) -> None:
    config = cluster(file)
    assert config["file_mounts"]["~/tombola/constraints.txt"] == "constraints.txt"
    (install,) = (command for command in config["setup_commands"] if "pip install" in command)
    assert install.endswith("--constraint ~/tombola/constraints.txt ~/tombola")


@pytest.mark.parametrize("file", FILES)
def test_all_that_an_installation_reads_is_sent_and_exists(file: str) -> None:
    sent = {local for local in cluster(file)["file_mounts"].values() if not local.startswith("~")}
    assert sent >= {"pyproject.toml", "README.md", "orchestrator", "search_spaces", "workers"}
    assert all((ROOT / local).exists() for local in sent)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("key", STARTS)
def test_no_node_starts_without_the_token(file: str, key: str) -> None:
    config = cluster(file)
    assert "RAY_AUTH_MODE=token ray start" in start(config, key)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("file", FILES)
def test_the_dashboard_answers_its_own_machine_only(file: str) -> None:
    hosts = re.findall(r"--dashboard-host=(\S+)", start(cluster(file), "head_start_ray_commands"))
    assert hosts == ["127.0.0.1"]


def test_only_the_head_of_a_cluster_that_grows_says_so() -> None:
    starts = {(file, key): start(cluster(file), key).split() for file in FILES for key in STARTS}
    assert [place for place, words in starts.items() if LABEL in words] == [("cluster.yaml", STARTS[0])]


def test_no_port_but_ssh_is_open_to_the_world() -> None:
    provider = cluster("cluster.yaml")["provider"]
    assert set(provider["security_group"]) == {"GroupName"}  # to which Ray adds ssh, and all ports among its members


def test_no_trial_runs_on_the_head() -> None:
    config = cluster("cluster.yaml")
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0


def test_workers_come_from_zero_for_a_share_of_a_gpu() -> None:
    for kind in worker_types():
        assert kind["min_workers"] == 0
        assert kind["max_workers"] > 0
        assert kind["resources"]["CPU"] >= 4 * kind["resources"]["GPU"] > 0


def test_workers_have_a_gpu_and_its_driver() -> None:
    config = cluster("cluster.yaml")
    for kind in worker_types():
        assert re.match(r"(g\d|gr\d|p\d)\w*\.", kind["node_config"]["InstanceType"])
        assert kind["node_config"]["ImageId"] == config["metadata"]["worker_image"]


def test_spot_is_preferred_and_may_fall_back() -> None:
    markets = {kind["priority"]: kind["node_config"].get("InstanceMarketOptions") for kind in worker_types()}
    assert [markets[priority] for priority in sorted(markets, reverse=True)] == [{"MarketType": "spot"}, None]
    resources = [kind["resources"] for kind in worker_types()]
    assert resources[0] == resources[1]  # where they differ, it is not priority that decides
    assert sum(kind["max_workers"] for kind in worker_types()) == cluster("cluster.yaml")["max_workers"]


def test_the_store_is_one_folder_on_every_machine() -> None:
    commands = cluster("cluster.yaml")["setup_commands"]
    (mount,) = (command for command in commands if "mount -t nfs4" in command)
    assert mount.split()[-1] == "/mnt/tombola"
