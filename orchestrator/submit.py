"""Submitting a sweep to a cluster from outside: its driver becomes a Ray job, whose log is followed here."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import logging
import os
import shlex
import shutil
import site
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.budget import Limits
from orchestrator.terminal import say
from search_spaces import load_sweep
from search_spaces.canonical import digest
from search_spaces.errors import TombolaError
from workers.store import open_store

OURS = ("orchestrator", "search_spaces", "workers")
CODE = (".py", ".yaml", ".yml")
INTERRUPTED_CODE, NOT_FOUND_CODE = 130, 127
DRIVER_CODES = (1, 2, 3, INTERRUPTED_CODE)
"""What a driver that did not end well says of itself."""

REST = 3.0
"""Seconds after which Ray, which looks at a job once a second, does not take the next of the same id for it."""

STARTING = 60.0
"""Seconds that a cluster which has just started may take until it has somebody to run a job."""

STOPPING = 60
"""Seconds that a job which is stopped may take to finish its epochs; Ray's own measure is 3."""


class SubmitError(TombolaError):
    """A sweep that cannot be submitted, or whose driver ended without a word of its own."""


def submit(sweep_file: Path, store: str, address: str, limits: Limits) -> int:
    """Run a sweep on the cluster whose job server is at `address`, and follow it; the exit code of its driver.

    Raises:
        SweepError: if the sweep cannot be used.
        StoreError: if `store` is none that tombola can open.
        SubmitError: if the sweep cannot be submitted or is being run already, or its driver cannot be followed.
    """
    sweep = load_sweep(sweep_file)
    name = job_name(sweep.name, store)
    server = JobServer(address)
    with tempfile.TemporaryDirectory() as folder:
        pack(sweep_file, sweep.plugins, Path(folder))
        shown = server.start(name, entrypoint(sweep_file.name, store, limits), folder)
    say(f"{sweep.name}: submitted as job {name}; Ctrl-C here ends the watching, not the job.")
    try:
        ended = server.follow(name, shown)
    except KeyboardInterrupt:
        say(
            f"Not watching any more; job {name} goes on. `ray job stop {name} --address {address}` stops it; "
            f"`tombola status {sweep_file} --store {store}`, where the store is, says how it stands."
        )
        return INTERRUPTED_CODE
    return _exit_code(ended, name)


def job_name(sweep: str, store: str) -> str:
    """The submission id that a sweep has in a store, so that Ray lets it have one driver.

    Raises:
        StoreError: if `store` is none that tombola can open.
        SubmitError: if it is relative.
    """
    if "://" not in store and not Path(store).is_absolute():
        raise SubmitError(
            f"--store {store}: is relative to a folder of this machine; give a path from the root, or a URI"
        )
    return f"tombola-{sweep}-{digest([sweep, open_store(store).uri])[:8]}"


def entrypoint(sweep_file: str, store: str, limits: Limits) -> str:
    """The shell command that is the driver. It resumes, since it may have run before."""
    given = {"--max-hours": limits.hours, "--max-gpu-hours": limits.gpu_hours}
    options = [word for option, hours in given.items() if hours is not None for word in (option, str(hours))]
    return shlex.join(["tombola", "resume", sweep_file, "--store", store, "--address", "auto", *options])


def pack(sweep_file: Path, plugins: Iterable[str], folder: Path) -> None:
    """Copy into `folder` what a driver needs that no cluster has: the sweep file and the user's own plugins.

    Raises:
        SubmitError: if a plugin of the user's is no Python source.
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
    """Where the code of a module or package lies, if it is neither installed nor tombola's or Python's own."""
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


class JobServer:
    """The job server of a cluster, which keeps at most one job of a name.

    Raises:
        SubmitError: from every method, if the server cannot be reached or refuses what is asked.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        _check_reachable(address)
        # Importing Ray's client sets the level of each of these; none of them has anything to say to a user.
        for logger in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            os.environ.pop(variable, None)  # Ray heeds them rather than the address it is given
        with self._errors_told():
            self._client = JobSubmissionClient(address)

    def start(self, name: str, command: str, folder: str) -> int:
        """Run `command` in a copy of `folder`, unless the job runs already; the length of the log of earlier runs."""
        with self._errors_told():
            earlier = self._find(name)
            if earlier is not None and not earlier.status.is_terminal():
                raise _is_running(name)
            try:
                shown = 0 if earlier is None else self._forget(name)
                self._submit(name, command, folder)
            except RuntimeError:
                other = self._find(name)
                if other is not None and not other.status.is_terminal():
                    raise _is_running(name) from None  # submitted by somebody else in between
                raise
        return shown

    def _submit(self, name: str, command: str, folder: str) -> None:
        deadline = time.monotonic() + STARTING
        while True:
            try:
                self._client.submit_job(entrypoint=command, submission_id=name, runtime_env=_environment(folder))
                return
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def follow(self, name: str, shown: int) -> JobDetails:
        """Print the log of a job from its character `shown` on, until the job has ended."""
        with self._errors_told():
            asyncio.run(self._print_log(name, shown))
            return self._client.get_job_info(name)

    async def _print_log(self, name: str, shown: int) -> None:
        # A connection need not last as long as a sweep. Each starts with the whole log again, and if the last one broke
        # there is another when the job has ended.
        ended = False
        while not ended:
            ended = self._client.get_job_status(name).is_terminal()
            passed = 0
            try:
                async for text in self._client.tail_job_logs(name):
                    print(text[max(shown - passed, 0) :], end="", flush=True)
                    passed += len(text)
                    shown = max(shown, passed)
                ended = ended or self._client.get_job_status(name).is_terminal()
            except (RuntimeError, OSError, aiohttp.ClientError):
                await asyncio.sleep(1)

    def _find(self, name: str) -> JobDetails | None:
        return next((job for job in self._client.list_jobs() if job.submission_id == name), None)

    def _forget(self, name: str) -> int:
        """Delete a job that has ended; the length of its log, which Ray keeps and continues."""
        time.sleep(REST)
        length = len(self._client.get_job_logs(name))
        self._client.delete_job(name)
        return length

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise SubmitError(
                f"--address {self._address}: this cluster wants its token, or another one: set RAY_AUTH_MODE=token and "
                f"have the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from error
        except (RuntimeError, OSError) as error:  # what Ray's client raises, and what requests does
            raise SubmitError(f"--address {self._address}: the job server failed: {_gist(str(error))}") from error


def _check_reachable(address: str) -> None:
    """Raise SubmitError if nothing speaks HTTP at `address`; Ray's client would wait for ever."""
    if urlparse(address).scheme not in ("http", "https") or not urlparse(address).netloc:
        raise SubmitError(f"--address {address}: is no address of a job server, such as http://127.0.0.1:8265")
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/api/version", timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()  # it answers; what it has to say is told to Ray's client too
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        reason = getattr(error, "reason", error)
        raise SubmitError(f"--address {address}: no job server can be reached there: {_gist(str(reason))}") from error


def _environment(folder: str) -> dict[str, Any]:
    return {"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING)}}


def _is_running(name: str) -> SubmitError:
    return SubmitError(
        f"the sweep is being run already, as job {name}; changes to its file count when it is submitted after that"
    )


def _exit_code(job: JobDetails, name: str) -> int:
    """The exit code of a driver that has ended, for the command that followed it to end with."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        say(f"Job {name} was stopped; the same call goes on from there.")
        return INTERRUPTED_CODE
    if job.driver_exit_code in DRIVER_CODES:
        return int(job.driver_exit_code)
    if job.driver_exit_code == NOT_FOUND_CODE:
        raise SubmitError(
            f"job {name}: there is no command tombola on the PATH of the cluster's head; install it there, and start "
            f"Ray where its environment is activated"
        )
    raise SubmitError(f"job {name} was lost: {_gist(job.message or '')}; the same call goes on from what was done")


def _gist(text: str) -> str:
    """The one line of an error, or of a traceback, that says what happened."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return lines[-1].rstrip(".") if lines else "it does not say why"
