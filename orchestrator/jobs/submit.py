"""Submitting a sweep to a cluster from outside: its driver becomes a Ray job, and this machine prints its log."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import site
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ray.job_submission import JobDetails, JobStatus

from orchestrator.execution.budget import Limits
from orchestrator.exit_codes import INTERRUPTED, SAID
from orchestrator.jobs.job_server import JobServer, SubmitError, gist
from orchestrator.terminal.options import hint
from orchestrator.terminal.output import say
from search_spaces import load_sweep
from search_spaces.base.canonical import digest
from workers.store.backends import open_store

OURS = ("orchestrator", "search_spaces", "workers")
CODE = (".py", ".yaml", ".yml")
NOT_FOUND = 127
"""Exit code of a shell that does not find the command."""


def submit(sweep_file: Path, store: str, address: str, limits: Limits, *, keep_code: bool = False) -> int:
    """Run a sweep on the cluster whose job server is at `address`, print its log, and return its exit code.

    Raises:
        SweepError: if the sweep cannot be used.
        StoreError: if tombola cannot open `store`.
        SubmitError: if the sweep cannot be submitted, is already running, or cannot be followed.
    """
    sweep = load_sweep(sweep_file)
    name = job_name(sweep.name, store)
    server = JobServer(address)
    with tempfile.TemporaryDirectory() as folder:
        pack(sweep_file, sweep.plugins, Path(folder))
        shown = server.start(name, entrypoint(sweep_file.name, store, limits, keep_code=keep_code), folder)
    say(f"{sweep.name}: submitted as job {name}; Ctrl-C here ends the watching, not the job.")
    try:
        ended = server.follow(name, shown)
    except KeyboardInterrupt:
        stop = ("ray", "job", "stop", name, "--address", address)
        say(
            f"Not watching any more; job {name} goes on. `{shlex.join(stop)}` stops it; "
            f"{hint('status', sweep_file, store=store)}, where the store is, says how it stands."
        )
        return INTERRUPTED
    return _exit_code(ended, name)


def job_name(sweep: str, store: str) -> str:
    """Submission id of a sweep in a store. It is always the same, so that Ray allows only one driver.

    Raises:
        StoreError: if tombola cannot open `store`.
        SubmitError: if `store` is a relative path.
    """
    if "://" not in store and not Path(store).is_absolute():
        raise SubmitError(
            f"--store {store}: is relative to a folder of this machine; give a path from the root, or a URI"
        )
    return f"tombola-{sweep}-{digest([sweep, open_store(store).uri])[:8]}"


def entrypoint(sweep_file: str, store: str, limits: Limits, *, keep_code: bool = False) -> str:
    """Shell command that starts the driver. It resumes the sweep, because the sweep may have run before."""
    given = {"--max-hours": limits.hours, "--max-gpu-hours": limits.gpu_hours}
    options = [word for option, hours in given.items() if hours is not None for word in (option, str(hours))]
    options += ["--keep-code"] if keep_code else []
    return shlex.join(["tombola", "resume", sweep_file, "--store", store, "--address", "auto", *options])


def pack(sweep_file: Path, plugins: Iterable[str], folder: Path) -> None:
    """Copy to `folder` what the driver needs and a cluster lacks: the sweep file and the user's own plugins.

    Raises:
        SubmitError: if a plugin of the user is not Python source code.
    """
    shutil.copy(sweep_file, folder)
    for name in dict.fromkeys(plugin.partition(".")[0] for plugin in plugins):
        for place in _own_places(name):
            if place.is_dir():
                shutil.copytree(place, folder / name, ignore=_not_code, dirs_exist_ok=True)
            elif place.suffix == ".py" and place.is_file():
                shutil.copy(place, folder)
            else:
                raise SubmitError(f"plugins: {name!r} is no Python source that could be sent: {place}")


def _own_places(name: str) -> list[Path]:
    """Paths of the code of a module or package; empty if the code is installed, or belongs to tombola or Python."""
    spec = importlib.util.find_spec(name)
    if spec is None or name in OURS or not (spec.has_location or spec.submodule_search_locations):
        return []
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    paths = sysconfig.get_paths()
    installed = [*site.getsitepackages(), site.getusersitepackages(), *(paths[k] for k in ("purelib", "stdlib"))]
    return [place for place in places if not any(place.is_relative_to(Path(root).resolve()) for root in installed)]


def _not_code(folder: str, names: list[str]) -> list[str]:
    def travels(path: Path) -> bool:
        if path.is_dir():
            return path.name != "__pycache__" and not path.name.startswith(".")
        return path.suffix in CODE

    return [name for name in names if not travels(Path(folder, name))]


def _exit_code(job: JobDetails, name: str) -> int:
    """Exit code for the command that followed a driver, from the job that ended."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        say(f"Job {name} was stopped; the same call goes on from there.")
        return INTERRUPTED
    if job.driver_exit_code in SAID:
        return int(job.driver_exit_code)
    if job.driver_exit_code == NOT_FOUND:
        raise SubmitError(
            f"job {name}: there is no command tombola on the PATH of the cluster's head; install it there, and start "
            f"Ray where its environment is activated"
        )
    raise SubmitError(f"job {name} was lost: {gist(job.message or '')}; the same call goes on from what was done")
