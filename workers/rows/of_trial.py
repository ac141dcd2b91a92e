"""The rows of a trial, made from what it has left in the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from search_spaces.transfer import Transfer
from workers.archive.ledger import SegmentRecord
from workers.archive.states import Archive
from workers.channels.kept import channel_groups, kept_channels
from workers.costs.steps import Cost, cost
from workers.lab.laboratory import HELD_OUT, SELECTION
from workers.lab.references import DENSE, Giver, Line, MaskKey, Slim, State, Ticket
from workers.lab.stages import Emerge, Evaluate, Prune, Select
from workers.masks import Mask
from workers.models import build
from workers.program import Outcome, Stretch, behind, stretches, ticket_stretch
from workers.rows.schema import identity
from workers.store import names
from workers.workbench import Workbench

Row = dict[str, Any]
_log = logging.getLogger("tombola")


def account_without_ticket(lab: Workbench) -> tuple[Row, list[Row]]:
    """The cost columns and the history of a search in which no mask emerged."""
    course = _Course(lab, None, None)
    return course.search(), list(course.history())


def account(lab: Workbench, outcome: Outcome) -> dict[str, list[Row]]:
    """The rows of a finished trial, by the name of the dataset."""
    rows = _Account(lab, outcome)
    return {
        names.TRIALS: [rows.trial()],
        names.SCORES: list(rows.scores()),
        names.HISTORY: list(rows.history()),
        names.MASKS: list(rows.masks()),
    }


def records(archive: Archive, stretch: Stretch) -> Iterator[SegmentRecord]:
    """The records of the segments in which a stretch was trained, the last one first.

    They end with a warning at a record that is lost.
    """
    line, epoch = stretch.state.line.key, stretch.state.epoch
    while epoch > stretch.begin:
        record = archive.segment(State(stretch.state.line, epoch)) or archive.ledger.passing(line, epoch)
        if record is None:
            _log.warning(
                "the record of epoch %d of %s is lost, and with it a part of its history", epoch, stretch.state.key
            )
            return
        yield record
        epoch = record.begin


class _Course:
    """What a trial trained, and what the search for its ticket cost.

    `trained` is the ticket's own training, or None if no ticket was found.
    """

    def __init__(self, lab: Workbench, ticket: Ticket | None, trained: Stretch | None) -> None:
        self._lab = lab
        self._ticket_found = ticket
        self._of_ticket = trained
        self._stretches = stretches(lab)
        self._records = {s.state.line.key: list(records(lab.context.archive, s)) for s in self._stretches}
        self._costs: dict[tuple[Giver, MaskKey, Slim | None], Cost] = {}

    def history(self) -> Iterator[Row]:
        """The rows of all quantities logged at every epoch, and of the distances between early-bird masks."""
        for position, stretch in enumerate(self._stretches):
            line = stretch.state.line
            for record in reversed(self._records[line.key]):
                for epoch in (each for each in record.epochs if each.number <= stretch.state.epoch):
                    quantities = {**epoch.means, "seconds": epoch.seconds, "cpu_seconds": epoch.cpu_seconds}
                    for quantity, value in quantities.items():
                        yield self._logged(position, line, epoch.number, quantity, value)
            for stage in self._lab.stages.values():
                if isinstance(stage, Emerge) and stage.line == line:
                    for number, earlier, distance in self._lab.distances(stage):
                        yield self._logged(position, line, number, f"distance_from_{earlier}", distance)

    def search(self) -> Row:
        """The cost columns of the search: all training behind the start state and the mask, and choosing masks.

        A small dense network takes only its size from a ticket, so its search costs nothing.
        """
        ticket = self._ticket_found
        if ticket is None:
            needed = list(self._lab.stages.values())
        else:
            needed = [] if ticket.start.line.slim else behind(self._lab, ticket)
        trained = stretches(self._lab, needed)
        keys = [stage.key for stage in needed if isinstance(stage, Prune | Emerge)]
        chosen = [fact for key in keys if (fact := self._lab.context.archive.pruning(key))]
        spent = {
            f"search_{what}": sum(self._spent(s, what) for s in trained) + sum(fact[what] for fact in chosen)
            for what in ("seconds", "cpu_seconds")
        }
        flops = sum(self._flops(s) for s in trained) + sum(fact["flops"] for fact in chosen)
        return {"search_epochs": sum(s.epochs for s in trained), **spent, "search_flops": flops}

    def _spent(self, stretch: Stretch, what: str) -> float:
        epochs = (epoch for record in self._records[stretch.state.line.key] for epoch in record.epochs)
        spent: float = sum(getattr(e, what) for e in epochs if stretch.begin < e.number <= stretch.state.epoch)
        return spent

    def _flops(self, stretch: Stretch) -> float:
        lab = self._maker(stretch.state.line)
        return stretch.epochs * (lab.card.train // lab.trial.recipe.batch) * self._cost(stretch.state.line).step

    def _cost(self, line: Line) -> Cost:
        lab = self._maker(line)
        known = (lab.as_giver, line.mask, line.slim)
        if known not in self._costs:
            mask = None if line.mask == DENSE else lab.context.mask(line.mask)
            self._costs[known] = cost(lab.context.spec(line.slim), lab.card.image, lab.trial.recipe.batch, mask)
        return self._costs[known]

    def _maker(self, line: Line) -> Workbench:
        """The workbench that trains a line: that of the trial itself, or that of its source."""
        maker = self._lab.makers[line.key]
        assert isinstance(maker, Workbench)
        return maker

    def _logged(self, position: int, line: Line, epoch: int, quantity: str, value: float) -> Row:
        ticket = self._of_ticket
        return {
            "trial_id": self._lab.trial.id,
            "line": line.key,
            "position": position,
            "ticket": ticket is not None and line.key == ticket.state.line.key and epoch > ticket.begin,
            "epoch": epoch,
            "quantity": quantity,
            "value": value,
        }


class _Account(_Course):
    """All rows of a finished trial."""

    def __init__(self, lab: Workbench, outcome: Outcome) -> None:
        self._ticket: Stretch = ticket_stretch(outcome)
        super().__init__(lab, outcome.ticket, self._ticket)
        self._outcome = outcome
        slim = outcome.final.line.slim
        self._family = build(lab.context.spec(slim), lab.card.image)
        self._mask = Mask.dense(self._family.prunable()) if slim else lab.context.mask(outcome.ticket.mask)

    def trial(self) -> Row:
        lab, outcome, mask = self._lab, self._outcome, self._mask
        evaluation = _found(lab.context.archive.evaluation(outcome.evaluation))
        segments = self._records[outcome.final.line.key]
        machine = segments[0].machine if segments else evaluation["machine"]
        own = self._cost(outcome.final.line)
        return {
            **identity(lab.trial),
            "status": "done",
            "error": "",
            "traceback": "",
            "achieved_sparsity": mask.sparsity,
            "prunable": mask.size,
            "kept": mask.kept,
            "parameters": sum(p.numel() for p in self._family.parameters()),
            "parameters_kept": own.parameters,
            **self._found_how(),
            **evaluation["metrics"],
            **self._measured_by(),
            **self._best(),
            **self.search(),
            "ticket_epochs": self._ticket.epochs,
            "ticket_seconds": self._spent(self._ticket, "seconds"),
            "ticket_cpu_seconds": self._spent(self._ticket, "cpu_seconds"),
            "ticket_flops": self._flops(self._ticket),
            "dense_step_flops": cost(lab.trial.model, lab.card.image, lab.trial.recipe.batch).step,
            "ticket_step_flops": own.step,
            "sparse_step_flops": own.sparse_step,
            "start_key": _point(outcome.ticket.start),
            "moments_key": _point(outcome.moments) if outcome.moments else None,
            "mask_key": outcome.ticket.mask,
            "final_key": outcome.final.key,
            "evaluation_key": outcome.evaluation,
            **machine,
        }

    def scores(self) -> Iterator[Row]:
        """The rows of all metrics at every epoch that was measured, with the part of the images."""
        lab, outcome = self._lab, self._outcome
        last = lab.stages[outcome.evaluation]
        assert isinstance(last, Evaluate)
        measured = {last.key: (last.state.epoch, HELD_OUT)}
        best = last.state.epoch
        if outcome.selection is not None:
            stage, selection = lab.stages[outcome.selection], _found(lab.context.archive.selection(outcome.selection))
            assert isinstance(stage, Select)
            best = selection["epoch"]
            measured |= {selection["evaluation"]: (best, HELD_OUT)}
            measured |= {candidate.key: (candidate.state.epoch, SELECTION) for candidate in stage.candidates}
        for key, (epoch, images) in measured.items():
            for metric, value in _found(lab.context.archive.evaluation(key))["metrics"].items():
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

    def masks(self) -> Iterator[Row]:
        for name, kept in self._mask.items():
            yield {
                "trial_id": self._lab.trial.id,
                "parameter": name,
                "component": name.split(".")[0],
                "role": self._family.role(name),
                "shape": list(kept.shape),
                "weights": kept.numel(),
                "kept": int(kept.sum()),
                "mask": Mask({name: kept}).pack(),
            }

    def _found_how(self) -> Row:
        """The columns that say how the mask was found, and what it removes of layers and channels."""
        lab, mask = self._lab, self._mask
        networks = nn.ModuleDict({name: self._family.networks[name] for name in self._family.bodies})
        channels = list(kept_channels(channel_groups(networks), mask).values())
        fact = lab.context.archive.pruning(self._outcome.ticket.mask) or {}
        emerged = (lab.emergence(stage) for stage in lab.stages.values() if isinstance(stage, Emerge))
        return {
            "scored_by": fact.get("scored_by"),
            "tied_share": fact.get("tied_share"),
            "emergence_epoch": next(emerged, None),
            "channel_sparsity": 1 - sum(int(c.sum()) for c in channels) / sum(map(len, channels)) if channels else None,
            "unmapped": self._unmapped(),
            "layer_collapse": ", ".join(name for name, count in mask.counts.items() if not count),
        }

    def _unmapped(self) -> str | None:
        """The roles of the kernels that a transferred mask does not cover; None for a mask that was not transferred."""
        if not isinstance(self._lab.trial.finder, Transfer) or self._outcome.ticket.mask == DENSE:
            return None
        return ", ".join(self._family.role(name) for name in self._family.kernels() if name not in self._mask)

    def _measured_by(self) -> Row:
        """The columns that say how many images were measured, and with what the distances were measured."""
        evaluation = self._lab.trial.evaluation
        stage = self._lab.stages[self._outcome.evaluation]
        assert isinstance(stage, Evaluate)
        row: Row = {"samples": evaluation.samples}
        if stage.features is None:
            return row
        return row | {
            "features": evaluation.distances.features,
            "features_weights": _found(self._lab.context.archive.evaluation(self._outcome.evaluation))["network"],
            "distance_samples": evaluation.compared,
            "distance_reference": evaluation.distances.reference,
        }

    def _best(self) -> Row:
        if self._outcome.selection is None:
            return {}
        selection = _found(self._lab.context.archive.selection(self._outcome.selection))
        best = _found(self._lab.context.archive.evaluation(selection["evaluation"]))
        by = selection["by"]
        return {"best_epoch": selection["epoch"], "selected_by": by, "best_score": best["metrics"][by]}


def _point(state: State) -> str:
    return f"{state.line.key}@{state.epoch}"


def _found(fact: Mapping[str, Any] | None) -> Mapping[str, Any]:
    assert fact is not None, "a trial's stages are there when its rows are written"
    return fact
