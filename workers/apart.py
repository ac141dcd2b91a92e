"""Calls in a separate process, so that a call that kills its process ends nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_log = logging.getLogger("tombola")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["workers.profiles.measuring"])  # once, because importing torch takes seconds


class Died(Exception):
    """The process that ran a call died before the call returned."""


class Apart:
    """Makes calls, one after the other, in a separate process. If that process died, the next call starts another.

    Arguments and results are pickled. Warnings that a call logs are logged in this process. Use it in a `with` block.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._process: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._process is not None:
            os.kill(self._process, signal.SIGKILL)  # otherwise Ctrl-C would wait for the running call
        self._end()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what `function` returns for `arguments`; raise what it raises.

        Raises:
            Died: if the process died before the function returned.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=_context, initializer=_begin, initargs=(dict(os.environ),))
        try:
            if self._process is None:
                with _without_main():
                    self._process = self._pool.submit(os.getpid).result()
            outcome, warnings = self._pool.submit(_with_warnings, function, *arguments).result()
        except BrokenProcessPool as error:
            self._end()
            raise Died from error
        for warning in warnings:
            _log.warning("%s", warning)
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = self._process = None


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a process that starts here from importing the user's script, as multiprocessing would make it do."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin(environment: dict[str, str]) -> None:
    """Ignore Ctrl-C, which the caller handles, and take its environment; the fork server may have an older one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def _with_warnings(function: Callable[..., T], *arguments: object) -> tuple[T | _Raised, list[str]]:
    """Call a function; return its result or its error, and the warnings that it logged."""
    said: list[str] = []
    _log.handlers = [_Listening(said)]
    try:
        return function(*arguments), said
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller raises it again
        return _Raised(_that_travels(error)), said


def _that_travels(error: Exception | SystemExit) -> Exception:
    """Return the error, or, if it cannot be pickled, a RuntimeError with the same message."""
    if isinstance(error, SystemExit):
        return RuntimeError(f"it called sys.exit({error.code!r})")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Listening(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())
