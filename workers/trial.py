"""One trial, from its spec to its rows: all that a worker does, in a plain Python session or anywhere else."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from search_spaces.datasets import DatasetSpec
from search_spaces.trial import Trial
from workers import data, names
from workers.archive import Archive
from workers.choices import Choices
from workers.data import Split
from workers.failures import DIVERGED, Failure, Failures, StageFailed
from workers.laboratory import HELD_OUT, SELECTION, Recorder
from workers.ledger import SegmentRecord
from workers.objects import Objects
from workers.points import Points, points
from workers.presence import present
from workers.program import Outcome, Stretch, run_program, stretches, ticket_stretch
from workers.pruning import Mask
from workers.reports import Listener, TrialEnded, TrialStarted
from workers.rows import identity, write_rows, write_unsuccessful
from workers.stages import Evaluate, Select, State
from workers.store import Store, StoreError
from workers.workbench import Interrupted, OutOfMemory, Workbench

Row = dict[str, Any]
_log = logging.getLogger("tombola")


def run_trial(
    trial: Trial,
    store: Store,
    plan_points: Points | None = None,
    listen: Listener = lambda report: None,
    stop: Callable[[], bool] = lambda: False,
    load: Callable[[DatasetSpec], Split] = data.load,
) -> str:
    """Run a trial and write its rows; returns its status: done, failed or diverged.

    `plan_points` are the points that the plan of a whole sweep needs; left out, the trial is planned alone. `load`
    gives the images of a data set.

    Raises:
        Interrupted: if `stop` said so; everything trained up to then is in the store.
        OutOfMemory: if a stage needs more memory than there is; nothing is recorded of it.
        StoreError: if the store cannot be written.
    """
    choices = Choices(store)
    (trial,) = choices.settle([trial])
    choices.record()
    listen(TrialStarted(trial.id))
    with present(store, names.running(trial.id)):
        ended = _run(trial, store, plan_points, listen, stop, load)
    listen(ended)
    return ended.status


def _run(
    trial: Trial,
    store: Store,
    plan_points: Points | None,
    listen: Listener,
    stop: Callable[[], bool],
    load: Callable[[DatasetSpec], Split],
) -> TrialEnded:
    try:
        recorder = Recorder(trial, data.card(trial.dataset))
        run_program(recorder, trial)
        if failure := Failures(Objects(store)).any_of(recorder.stages.values()):
            raise StageFailed(failure)
        lab = Workbench(trial, store, plan_points or points(recorder.stages.values()), listen, stop, load)
        rows = _rows(lab, run_program(lab, trial))
    except StageFailed as error:
        status = "diverged" if error.failure.kind == DIVERGED else "failed"
        return _unsuccessful(store, trial, status, str(error), error.failure.traceback, error.failure)
    except (Interrupted, OutOfMemory, StoreError):
        raise
    except Exception as error:  # noqa: BLE001 - outside of any stage: a search program, or a device that is not there
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return _unsuccessful(store, trial, "failed", message, traceback.format_exc())
    write_rows(store, trial, rows)
    return TrialEnded(trial.id, "done")


def _unsuccessful(
    store: Store, trial: Trial, status: str, message: str, trace: str, failure: Failure | None = None
) -> TrialEnded:
    write_unsuccessful(store, trial, status, message, trace)
    return TrialEnded(trial.id, status, message, failure)


def _rows(lab: Workbench, outcome: Outcome) -> dict[str, list[Row]]:
    mask = lab.mask(outcome.ticket.mask)
    evaluation = _found(lab.archive.evaluation(outcome.evaluation))
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
        **_measured_by(lab, outcome),
        **_best(lab, outcome),
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
    scores = list(_scores(lab, outcome))
    return {names.TRIALS: [trial_row], names.SCORES: scores, names.HISTORY: history, names.MASKS: masks}


def _measured_by(lab: Workbench, outcome: Outcome) -> Row:
    """How many images were measured, and what the distances were measured with."""
    evaluation = lab.trial.evaluation
    stage = lab.stages[outcome.evaluation]
    assert isinstance(stage, Evaluate)
    row: Row = {"samples": evaluation.samples}
    if stage.features is None:
        return row
    return row | {
        "features": evaluation.distances.features,
        "features_weights": _found(lab.archive.evaluation(outcome.evaluation))["network"],
        "distance_samples": evaluation.compared,
        "distance_reference": evaluation.distances.reference,
    }


def _best(lab: Workbench, outcome: Outcome) -> Row:
    if outcome.selection is None:
        return {}
    selection = _found(lab.archive.selection(outcome.selection))
    best = _found(lab.archive.evaluation(selection["evaluation"]))
    by = selection["by"]
    return {"best_epoch": selection["epoch"], "selected_by": by, "best_score": best["metrics"][by]}


def _scores(lab: Workbench, outcome: Outcome) -> Iterator[Row]:
    """What was measured at every epoch that was looked at, and on which images."""
    last = lab.stages[outcome.evaluation]
    assert isinstance(last, Evaluate)
    measured = {last.key: (last.state.epoch, HELD_OUT)}
    best = last.state.epoch
    if outcome.selection is not None:
        stage, selection = lab.stages[outcome.selection], _found(lab.archive.selection(outcome.selection))
        assert isinstance(stage, Select)
        best = selection["epoch"]
        measured |= {selection["evaluation"]: (best, HELD_OUT)}
        measured |= {candidate.key: (candidate.state.epoch, SELECTION) for candidate in stage.candidates}
    for key, (epoch, images) in measured.items():
        for metric, value in _found(lab.archive.evaluation(key))["metrics"].items():
            yield {
                "trial_id": lab.trial.id,
                "epoch": epoch,
                "images": images,
                "last": epoch == last.state.epoch,
                "best": outcome.selection is not None and epoch == best,
                "metric": metric,
                "value": value,
                "evaluation_key": key,
            }


def _found(fact: dict[str, Any] | None) -> dict[str, Any]:
    assert fact is not None, "a trial's stages are there when its rows are written"
    return fact


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
