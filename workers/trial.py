"""One trial, from its spec to its rows: all that a worker does, in a plain Python session or anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from search_spaces.trial import Trial
from workers import data, names
from workers.archive import Archive
from workers.failures import DIVERGED, StageFailed
from workers.laboratory import Recorder
from workers.ledger import SegmentRecord
from workers.points import Points, points
from workers.presence import present
from workers.program import Outcome, Stretch, run_program, stretches, ticket_stretch
from workers.pruning import Mask
from workers.reports import Listener, TrialEnded, TrialStarted
from workers.rows import identity, write_rows, write_unsuccessful
from workers.stages import State
from workers.store import Store
from workers.workbench import Workbench

Row = dict[str, Any]
_log = logging.getLogger("tombola")


def run_trial(
    trial: Trial,
    store: Store,
    plan_points: Points | None = None,
    listen: Listener = lambda report: None,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Run a trial and write its rows; returns its status: done, failed or diverged.

    `plan_points` are the points that the plan of a whole sweep needs; left out, the trial is planned alone.

    Raises:
        Interrupted: if `stop` said so; everything trained up to then is in the store.
        StoreError: if the store cannot be written.
    """
    listen(TrialStarted(trial.id))
    if plan_points is None:
        recorder = Recorder(trial, data.card(trial.dataset))
        run_program(recorder, trial)
        plan_points = points(recorder.stages.values())
    with present(store, trial.id):
        lab = Workbench(trial, store, plan_points, listen, stop)
        try:
            outcome = run_program(lab, trial)
            rows = _rows(lab, outcome)
        except StageFailed as error:
            failure = error.failure
            status = "diverged" if failure.kind == DIVERGED else "failed"
            write_unsuccessful(store, trial, status, str(error), failure.traceback)
            listen(TrialEnded(trial.id, status, str(error)))
            return status
        write_rows(store, trial, rows)
    listen(TrialEnded(trial.id, "done"))
    return "done"


def _rows(lab: Workbench, outcome: Outcome) -> dict[str, list[Row]]:
    mask = lab.mask(outcome.ticket.mask)
    evaluation = lab.archive.evaluation(outcome.evaluation)
    assert evaluation is not None, "a trial's last stage is its evaluation"
    lines = {stretch.state.line.key: list(records(lab.archive, stretch)) for stretch in stretches(lab)}
    ticket = ticket_stretch(outcome)
    family = lab.family_at(outcome.final)
    history = list(_history(lab, lines, ticket))
    seconds = {
        kind: sum(r["value"] for r in history if r["quantity"] == "seconds" and r["ticket"] == kind)
        for kind in (True, False)
    }
    segments = lines[outcome.final.line.key]
    machine = segments[0].machine if segments else evaluation["machine"]
    trial_row = {
        **identity(lab.trial),
        "status": "done",
        "error": "",
        "traceback": "",
        "achieved_sparsity": mask.sparsity,
        "prunable": mask.size,
        "kept": mask.kept,
        "parameters": sum(p.numel() for p in family.networks.parameters()),
        **evaluation["metrics"],
        "samples": lab.trial.evaluation.samples,
        "search_epochs": sum(s.epochs for s in stretches(lab)) - ticket.epochs,
        "search_seconds": seconds[False],
        "ticket_epochs": ticket.epochs,
        "ticket_seconds": seconds[True],
        "start_key": outcome.ticket.start.key,
        "mask_key": outcome.ticket.mask,
        "final_key": outcome.final.key,
        "evaluation_key": outcome.evaluation,
        **machine,
    }
    masks = [
        {
            "trial_id": lab.trial.id,
            "parameter": name,
            "component": name.split(".")[0],
            "role": family.role(name),
            "shape": list(kept.shape),
            "weights": kept.numel(),
            "kept": int(kept.sum()),
            "mask": Mask({name: kept}).pack(),
        }
        for name, kept in mask.items()
    ]
    return {names.TRIALS: [trial_row], names.HISTORY: history, names.MASKS: masks}


def records(archive: Archive, stretch: Stretch) -> Iterator[SegmentRecord]:
    """The records of the segments that a stretch was trained in, the last one first."""
    epoch = stretch.state.epoch
    while epoch > stretch.begin:
        record = archive.segment(State(stretch.state.line, epoch))
        if record is None:
            _log.warning(
                "the record of epoch %d of %s is lost, and with it a part of its history", epoch, stretch.state.key
            )
            return
        yield record
        epoch = record.begin


def _history(lab: Workbench, lines: dict[str, list[SegmentRecord]], ticket: Stretch) -> Iterator[Row]:
    for position, stretch in enumerate(stretches(lab)):
        line = stretch.state.line.key
        for record in reversed(lines[line]):
            for epoch in record.epochs:
                own = line == ticket.state.line.key and epoch.number > ticket.begin
                quantities = {**epoch.means, "seconds": epoch.seconds, "cpu_seconds": epoch.cpu_seconds}
                for quantity, value in quantities.items():
                    yield {
                        "trial_id": lab.trial.id,
                        "line": line,
                        "position": position,
                        "ticket": own,
                        "epoch": epoch.number,
                        "quantity": quantity,
                        "value": value,
                    }
