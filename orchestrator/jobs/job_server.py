"""The job server of a Ray cluster, where a driver can run as a job."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from search_spaces.errors import TombolaError

REST = 3.0
"""Seconds to wait before reusing an id. Ray polls jobs once a second and could take the new job for the old one."""

STARTING = 60.0
"""Seconds to wait until a cluster that has just started can run a job."""

STOPPING = 60
"""Seconds that a stopped job has to finish its epochs; Ray's default is 3."""


class SubmitError(TombolaError):
    """A sweep that cannot be submitted, or whose driver ended without giving a reason."""


class JobServer:
    """The job server of a cluster, which keeps at most one job of each name.

    Raises:
        SubmitError: from every method, if the server cannot be reached or refuses the request.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        _check_reachable(address)
        # Importing Ray's client sets the levels of these loggers; a user has no use for their messages.
        for logger in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            os.environ.pop(variable, None)  # Ray prefers these to the address that it is given
        with self._errors_told():
            self._client = JobSubmissionClient(address)

    def start(self, name: str, command: str, folder: str) -> int:
        """Run `command` as a job in a copy of `folder`, unless the job is already running.

        Return the length of the log of earlier runs, in characters; `follow` skips this part.
        """
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
                    raise _is_running(name) from None  # somebody else submitted it in between
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
        """Print the log of a job from character `shown` on until the job ends, and return its details."""
        with self._errors_told():
            asyncio.run(self._print_log(name, shown))
            return self._client.get_job_info(name)

    async def _print_log(self, name: str, shown: int) -> None:
        # A connection may break before the job ends. Then a new one is made, which sends the whole log again. This
        # happens even if the job has ended in the meantime, so that the end of the log is not lost.
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
        """Delete a job that has ended. Return the length of its log, because Ray keeps the log and continues it."""
        time.sleep(REST)
        length = len(self._client.get_job_logs(name))
        self._client.delete_job(name)
        return length

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except SubmitError:
            raise
        except AuthenticationError as error:
            raise SubmitError(
                f"--address {self._address}: this cluster wants its token, or another one: set RAY_AUTH_MODE=token and "
                f"have the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            ) from error
        except (RuntimeError, OSError, ValueError) as error:  # raised by Ray's client and by requests
            raise SubmitError(f"--address {self._address}: the job server failed: {gist(str(error))}") from error


def _check_reachable(address: str) -> None:
    """Raise SubmitError if nothing speaks HTTP at `address`. Ray's client would wait forever."""
    if not _is_url(address):
        raise SubmitError(f"--address {address}: is no address of a job server, such as http://127.0.0.1:8265")
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/api/version", timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()  # the server answers; Ray's client will report the error
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        reason = getattr(error, "reason", error)
        raise SubmitError(f"--address {address}: no job server can be reached there: {gist(str(reason))}") from error


def _is_url(address: str) -> bool:
    try:
        parts = urlparse(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an incomplete IPv6 address, or a port that is not a number
        return False


def _environment(folder: str) -> dict[str, Any]:
    return {"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING)}}


def _is_running(name: str) -> SubmitError:
    return SubmitError(
        f"the sweep is being run already, as job {name}; changes to its file count when it is submitted after that"
    )


def gist(text: str) -> str:
    """The last line of an error or traceback, which says what happened."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return lines[-1].rstrip(".") if lines else "it does not say why"
