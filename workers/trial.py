"""One trial, from its spec to its rows. A worker does nothing else, and a plain Python session can do the same."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import shortened, typed_line
from search_spaces.trial import Trial
from workers import data, device
from workers.archive.failures import ERROR, NO_TICKET, Failures, StageFailed
from workers.data import Split
from workers.endings import Interrupted, OutOfMemory
from workers.lab.points import Wanted
from workers.lab.recorder import Recorder
from workers.program import run_program
from workers.reports import Listener, TrialEnded, TrialStarted
from workers.rows.of_trial import account, account_without_ticket
from workers.rows.schema import write_rows, write_unsuccessful
from workers.settling.codes import Codes
from workers.settling.distances import Choices
from workers.store import names
from workers.store.backends import Store, StoreError
from workers.store.objects import Objects
from workers.store.presence import Sign
from workers.workbench import Workbench


def run_trial(
    trial: Trial,
    store: Store,
    wanted: Wanted | None = None,
    listen: Listener = lambda report: None,
    stop: Callable[[], bool] = lambda: False,
    load: Callable[[DatasetSpec], Split] = data.load,
    look: Callable[[BaseException], None] = lambda error: None,
) -> str:
    """Run a trial, write its rows, and return its status: done, failed, diverged or no_ticket.

    `wanted` is what the plan of a whole sweep wants of lines; by default, the trial is planned alone. `load` returns
    the images of a data set. `look` is called with the exception that the trial failed with, while its stack frames
    still exist.

    Raises:
        Interrupted: if `stop` returned True; the store has everything that was trained before.
        OutOfMemory: if a stage needs more memory than there is; no failure is recorded.
        StoreError: if the store cannot be written.
    """
    choices = Choices(store)
    codes = Codes(store)
    (trial,) = codes.settle(choices.settle([trial]))
    choices.record()
    codes.record()
    listen(TrialStarted(trial.id))
    with Sign(store, names.running(trial.id)):
        ended = _run(trial, store, wanted, listen, stop, load, look)
    listen(ended)
    return ended.status


def _run(
    trial: Trial,
    store: Store,
    wanted: Wanted | None,
    listen: Listener,
    stop: Callable[[], bool],
    load: Callable[[DatasetSpec], Split],
    look: Callable[[BaseException], None],
) -> TrialEnded:
    lab = None
    try:
        recorder = Recorder(trial, data.card(trial.dataset))
        run_program(recorder, trial)
        failure = Failures(Objects(store)).any_of(recorder.stages.values())
        if failure and failure.kind != NO_TICKET:  # that search is repeated for its history, without training
            raise StageFailed(failure)
        wanted = wanted or Wanted.by(recorder.stages.values())
        lab = Workbench(trial, store, wanted, device.prepare(trial.resources), listen, stop, load)
        rows = account(lab, run_program(lab, trial))
    except StageFailed as error:
        status = "failed" if error.failure.kind == ERROR else error.failure.kind
        known, history = account_without_ticket(lab) if lab and status == NO_TICKET else ({}, [])
        write_unsuccessful(store, trial, status, str(error), error.failure.traceback, known, history)
        if status == "failed":
            look(error.__cause__ or error)
        return TrialEnded(trial.id, status, str(error), error.failure)
    except (Interrupted, OutOfMemory, StoreError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - outside of any stage: a search program, or a missing device
        message = shortened(typed_line(error))
        write_unsuccessful(store, trial, "failed", message, traceback.format_exc())
        look(error)
        return TrialEnded(trial.id, "failed", message)
    write_rows(store, trial, rows)
    return TrialEnded(trial.id, "done")
