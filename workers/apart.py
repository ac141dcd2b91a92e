"""Calls in a process of their own, so that one which kills its process ends nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_log = logging.getLogger("tombola")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["workers.profiling"])  # with torch it takes seconds to import; so it is once for all


class Died(Exception):
    """The process that a call was made in has died of it."""


class Apart:
    """Makes calls one after the other in a process of its own; where that died, the next call gets another one.

    Arguments and results are pickled. What a call warns of is said here. To be used in a `with`.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What `function` returns for `arguments`.

        Raises:
            Died: if the process has died before it returned.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=_context, initializer=_begin, initargs=(dict(os.environ),))
        try:
            result, warnings = self._pool.submit(_with_warnings, function, *arguments).result()
        except BrokenProcessPool as error:
            self._end()
            raise Died from error
        for warning in warnings:
            _log.warning("%s", warning)
        return result

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _begin(environment: dict[str, str]) -> None:
    """Leave Ctrl-C to the caller, and see its environment as it is now: the fork server has that of its start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)


def _with_warnings(function: Callable[..., T], *arguments: object) -> tuple[T, list[str]]:
    """What a function returns, and what it warned of."""
    said: list[str] = []
    _log.handlers = [_Listening(said)]
    return function(*arguments), said


class _Listening(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())
