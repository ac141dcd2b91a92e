"""One process runs a sweep, whatever becomes of it meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from orchestrator.sweeps import DriverError, only_driver
from search_spaces.sweep import Sweep
from tests.toys import toy_sweep
from workers.store.backends import Store, open_store

BEAT = 0.5
DRIVER = f"""
    import sys, time
    from orchestrator.execution.budget import Limits
    from orchestrator.planning.plan import make_plan
    from orchestrator.terminal.running import run_missing
    from orchestrator.sweeps import DriverError
    from search_spaces.sweep import Sweep
    from tests.toys import toy_sweep
    from workers.profiles.profile import UNKNOWN
    from workers.store.backends import open_store

    class Trains:
        def profiles(self, trials, store):
            return {{trial.id: UNKNOWN for trial in trials}}

        def run(self, work, store, listen, stop):
            while not stop():
                print("trains", time.time(), file=sys.stderr, flush=True)
                time.sleep(0.05)

    sweep, store = Sweep.model_validate(toy_sweep()), open_store(sys.argv[1])
    trials = sweep.trials()
    try:
        run_missing(make_plan(trials), sweep, trials, store, Trains(), Limits(), {BEAT})
    except DriverError as error:
        print(error, file=sys.stderr, flush=True)
"""


def test_a_driver_that_was_stopped_leaves_when_another_has_taken_over(tmp_path: Path) -> None:
    store, sweep = open_store(str(tmp_path / "store")), Sweep.model_validate(toy_sweep())
    script = textwrap.dedent(DRIVER)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "store")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as driver:
        try:
            assert driver.stderr is not None
            assert driver.stderr.readline().startswith(b"trains")
            assert not takes(sweep, store)
            driver.send_signal(signal.SIGSTOP)
            deadline = time.monotonic() + 60
            while not takes(sweep, store):
                assert time.monotonic() < deadline
            with only_driver(sweep, store, BEAT):
                woken = time.time()
                driver.send_signal(signal.SIGCONT)
                said = driver.stderr.read().decode().splitlines()
        finally:
            driver.kill()
    assert sum(float(line.split()[1]) > woken for line in said[:-1]) <= 1
    assert said[-1].startswith("sweep 'toy' was taken over by process")
    assert driver.returncode == 0


def takes(sweep: Sweep, store: Store) -> bool:
    try:
        with only_driver(sweep, store, BEAT):
            return True
    except DriverError:
        return False
