"""What a trial does, from first weights to a measured ticket, written over the verbs of a laboratory."""

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
    """The ticket a trial found, the state it was trained to, and the keys of what was measured there.

    `selection` is the key of which epoch of the ticket's training was best, where the trial asks for that.
    """

    ticket: Ticket
    final: State
    evaluation: str
    selection: str | None

    @property
    def moments(self) -> State | None:
        """The state whose optimizer moments the ticket's training begins with; None if its optimizer is a fresh one."""
        start = self.ticket.start
        return start if start.line == self.final.line else self.final.line.moments


def run_program(lab: Laboratory, trial: Trial) -> Outcome:
    """Search for a ticket, train it to the last epoch, and measure it there and where it was best."""
    lab.calibrate()
    ticket = search(lab, trial.method, density_of(trial.sparsity))
    stops = _stops(lab, ticket)
    reached = [epoch for epoch in stops if epoch > ticket.start.epoch or epoch == stops[-1]]
    states = [lab.train(ticket.start, ticket.mask, epoch, ticket.steps, ticket.moments) for epoch in reached]
    selection = lab.select(states, stops) if trial.evaluation.selection else None
    return Outcome(ticket, states[-1], lab.evaluate(states[-1]), selection)


def _stops(lab: Laboratory, ticket: Ticket) -> list[int]:
    """The epochs at which a ticket's training is looked at, the same for every ticket; the last of them is its end."""
    selection, end = lab.trial.evaluation.selection, ticket.end or lab.epochs
    between = range(selection.every, end, selection.every) if selection else ()
    return [*(epoch for epoch in between if epoch > _earliest(lab, ticket.start)), end]


def _earliest(lab: Laboratory, state: State) -> int:
    """The epoch of a state, for one that emerges the earliest that it can be."""
    if state.emergence is None:
        return state.epoch
    stage = lab.stages[state.emergence]
    assert isinstance(stage, Emerge)
    return stage.look_back


@dataclass(frozen=True, slots=True)
class Stretch:
    """The epochs after `begin` up to `end` of a line."""

    state: State
    begin: int

    @property
    def epochs(self) -> int:
        return self.state.epoch - self.begin


def stretches(lab: Laboratory, stages: Iterable[Stage] | None = None) -> list[Stretch]:
    """Everything a trial's program trains, as if nothing were shared: each of its lines, in order of first use.

    Of some `stages` alone it is what these train.
    """
    ends: dict[str, State] = {}
    for stage in lab.stages.values() if stages is None else stages:
        if isinstance(stage, Train | Emerge):
            end = State(stage.line, stage.to if isinstance(stage, Train) else lab.emergence(stage))
            known = ends.setdefault(stage.line.key, end)
            ends[stage.line.key] = max(known, end, key=lambda state: state.epoch)
    return [Stretch(end, end.line.start) for end in ends.values()]


def behind(lab: Laboratory, ticket: Ticket) -> list[Stage]:
    """The stages that a ticket's start state and mask are made by, in order."""
    needed, pending = set[str](), [ticket.start.stage, ticket.mask]
    while pending:
        key = pending.pop()
        if key in lab.stages and key not in needed:
            needed.add(key)
            pending += lab.stages[key].needs
    return [stage for key, stage in lab.stages.items() if key in needed]


def ticket_stretch(outcome: Outcome) -> Stretch:
    """What training the ticket takes; all else that the program trains is what finding it takes."""
    return Stretch(outcome.final, outcome.ticket.start.epoch)
