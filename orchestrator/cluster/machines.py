"""The machines of a Ray cluster: joining them, and how many trials fit on them."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from search_spaces.errors import TombolaError, first_line
from search_spaces.trial import Resources

GROWS = ("autoscaling", "true")
"""The label of a node whose cluster adds machines by itself when actors wait for them."""


class ClusterError(TombolaError):
    """A cluster that cannot be joined, or cannot run the trials."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the Ray cluster at `address`, or start Ray on this machine, until the block is left.

    Raises:
        ClusterError: if the cluster cannot be joined, or Ray cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the future default of Ray
    if address is not None:
        _check_reachable(address)
    try:
        ray.init(address=address or "local", include_dashboard=None if address else False, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        problem = first_line(error)
        place = f"--address {address}: cannot join a Ray cluster there" if address else "cannot start Ray here"
        of_files = isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError)
        hint = f" ({_folder_used()})" if address is None and of_files else ""
        raise ClusterError(f"{place}: {problem}{hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _folder_used() -> str:
    """The folder in which Ray keeps its sockets and logs, and the variables that set it, in a sentence."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return (
        f"Ray keeps its sockets in {folder}, which needs free space and a short path: set TMPDIR or RAY_TMPDIR to "
        f"another folder, or run with --local, without Ray"
    )


def _check_reachable(address: str) -> None:
    """Raise ClusterError if nothing answers at `address`. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if "://" in address or not host or not port.isdecimal():
        raise ClusterError(f"--address {address}: is neither auto nor HOST:PORT of a cluster's head, such as head:6379")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError, ValueError) as error:  # an invalid name raises a ValueError
        raise ClusterError(f"--address {address}: no Ray cluster can be reached there: {error}") from error


_QUIET: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}


def room(resources: Resources) -> int:
    """How many trials with these resources fit on all machines of the cluster, if they hold nothing else."""
    return sum(_fits(node, resources) for node in _nodes())


def grows() -> bool:
    """Whether the cluster adds machines by itself when actors wait for them."""
    key, value = GROWS
    return any(node["Labels"].get(key) == value for node in _nodes())


def capacity() -> tuple[float, float]:
    """CPU cores and GPUs of all machines of the cluster; infinite if it grows."""
    if grows():
        return math.inf, math.inf
    cpus, gpus = (sum(node["Resources"].get(kind, 0.0) for node in _nodes()) for kind in _KINDS)
    return cpus, gpus


def is_alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id for node in _nodes())


def check_room(shapes: Iterable[Resources]) -> None:
    """Raise ClusterError if no machine of the cluster, now or later, can run a trial with one of `shapes`."""
    for resources in shapes:
        if not room(resources) and not grows():
            most = {kind: max((node["Resources"].get(kind, 0.0) for node in _nodes()), default=0.0) for kind in _KINDS}
            raise ClusterError(
                f"resources: a trial needs cpus {resources.cpus} and gpus {resources.gpus:g} of one machine, but the "
                f"most that a machine of this cluster has are cpus {most['CPU']:g} and gpus {most['GPU']:g}"
            )


_KINDS = ("CPU", "GPU")


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _fits(node: dict[str, Any], resources: Resources) -> int:
    cpus, gpus = (node["Resources"].get(kind, 0.0) for kind in _KINDS)
    by_cpu = int(cpus // resources.cpus)
    if not resources.gpus:
        return by_cpu
    return min(by_cpu, int(gpus) * math.floor(1 / resources.gpus + 1e-9))
