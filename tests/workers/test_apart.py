"""Calls apart: they return, raise and warn as here, and may kill their process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

import pytest

from search_spaces.errors import TombolaError
from workers.apart import Apart, Died


def refuse() -> None:
    logging.getLogger("tombola").warning("soon")
    raise TombolaError("no")


def warn(text: str) -> int:
    logging.getLogger("tombola").warning("beware of %s", text)
    return os.getpid()


def test_a_call_runs_in_a_process_of_its_own_and_its_warnings_are_said_here(caplog: pytest.LogCaptureFixture) -> None:
    with Apart() as apart:
        process = apart.call(warn, "it")
        assert process != os.getpid()
        assert apart.call(os.getpid) == process
    assert caplog.messages == ["beware of it"]


def test_what_a_call_raises_is_raised_here_after_its_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with Apart() as apart, pytest.raises(TombolaError, match="no"):
        apart.call(refuse)
    assert caplog.messages == ["soon"]


def interrupt(process: int) -> None:
    os.kill(process, signal.SIGINT)
    time.sleep(60)


def test_an_interrupt_waits_for_no_call() -> None:
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have set aside
    try:
        with pytest.raises(KeyboardInterrupt), Apart() as apart:
            apart.call(interrupt, os.getpid())
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30


def test_after_a_death_the_next_call_has_another_process() -> None:
    with Apart() as apart:
        process = apart.call(os.getpid)
        with pytest.raises(Died):
            apart.call(os.abort)
        assert apart.call(os.getpid) not in (process, os.getpid())


def test_a_call_sees_the_environment_as_it_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with Apart() as apart:
        apart.call(os.getpid)
    monkeypatch.setenv("TOMBOLA_DATA", "elsewhere")
    with Apart() as apart:
        assert apart.call(os.getenv, "TOMBOLA_DATA") == "elsewhere"


def test_a_call_that_leaves_python_is_an_error() -> None:
    with Apart() as apart, pytest.raises(RuntimeError, match=r"it called sys\.exit\(0\)"):
        apart.call(sys.exit, 0)
