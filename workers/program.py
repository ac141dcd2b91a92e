"""What a trial does, from initial weights to a measured ticket, written with the verbs of a laboratory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_spaces.base.sparsity import density_of
from search_spaces.trial import Trial
from workers.lab.laboratory import Laboratory
from workers.lab.references import State, Ticket
from workers.lab.stages import Emerge, Stage, Train
from workers.searches import search


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ticket that a trial found, its state after training, and the keys of the measurements.

    `evaluation` is the key of what was measured on the final state. `selection` is the key of the selection of the
    best epoch; None if the trial asks for none.
    """

    ticket: Ticket
    final: State
    evaluation: str
    selection: str | None

    @property
    def moments(self) -> State | None:
        """The state whose optimizer moments the ticket's training begins with; None for a fresh optimizer."""
        start = self.ticket.start
        return start if start.line == self.final.line else self.final.line.moments


def run_program(lab: Laboratory, trial: Trial) -> Outcome:
    """Search for a ticket, train it to the last epoch, and measure it there and at its best epoch."""
    lab.calibrate()
    ticket = search(lab, trial.method, density_of(trial.sparsity))
    stops = _stops(lab, ticket)
    reached = [epoch for epoch in stops if epoch > ticket.start.epoch or epoch == stops[-1]]
    states = [lab.train(ticket.start, ticket.mask, epoch, ticket.steps, ticket.moments) for epoch in reached]
    selection = lab.select(states, stops) if trial.evaluation.selection else None
    return Outcome(ticket, states[-1], lab.evaluate(states[-1]), selection)


def _stops(lab: Laboratory, ticket: Ticket) -> list[int]:
    """List the epochs at which a ticket's training is evaluated. The last one is its end.

    The others are multiples of `selection.every`, whichever epoch the ticket starts from.
    """
    selection, end = lab.trial.evaluation.selection, ticket.end or lab.epochs
    between = range(selection.every, end, selection.every) if selection else ()
    return [*(epoch for epoch in between if epoch > _earliest(lab, ticket.start)), end]


def _earliest(lab: Laboratory, state: State) -> int:
    """The epoch of a state; if its mask emerges in training, the earliest possible epoch."""
    if state.emergence is None:
        return state.epoch
    stage = lab.stages[state.emergence]
    assert isinstance(stage, Emerge)
    return stage.look_back


@dataclass(frozen=True, slots=True)
class Stretch:
    """The epochs of a line after `begin`, up to that of `state`."""

    state: State
    begin: int

    @property
    def epochs(self) -> int:
        return self.state.epoch - self.begin


def stretches(lab: Laboratory, stages: Iterable[Stage] | None = None) -> list[Stretch]:
    """List what a trial's program trains, one stretch for each line, in order of first use.

    It counts all training, as if nothing were shared with other trials. With `stages`, it covers these stages only.
    """
    ends: dict[str, State] = {}
    for stage in lab.stages.values() if stages is None else stages:
        if isinstance(stage, Train | Emerge):
            end = State(stage.line, stage.to if isinstance(stage, Train) else lab.emergence(stage))
            known = ends.setdefault(stage.line.key, end)
            ends[stage.line.key] = max(known, end, key=lambda state: state.epoch)
    return [Stretch(end, end.line.start) for end in ends.values()]


def behind(lab: Laboratory, ticket: Ticket) -> list[Stage]:
    """List the stages that a ticket's start state and mask depend on, in order."""
    needed, pending = set[str](), [ticket.start.stage, ticket.mask]
    while pending:
        key = pending.pop()
        if key in lab.stages and key not in needed:
            needed.add(key)
            pending += lab.stages[key].needs
    return [stage for key, stage in lab.stages.items() if key in needed]


def ticket_stretch(outcome: Outcome) -> Stretch:
    """The stretch that trains the ticket, from its start state to the final state."""
    return Stretch(outcome.final, outcome.ticket.start.epoch)
