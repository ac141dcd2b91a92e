"""What a trial does, from first weights to a measured ticket, written over the verbs of a laboratory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from search_spaces.sparsity import density_of
from search_spaces.trial import Trial
from workers.laboratory import Laboratory
from workers.searches import search
from workers.stages import State, Ticket, Train


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ticket a trial found, the state it was trained to, and the keys of what was measured there.

    `selection` is the key of which epoch of the ticket's training was best, where the trial asks for that.
    """

    ticket: Ticket
    final: State
    evaluation: str
    selection: str | None


def run_program(lab: Laboratory, trial: Trial) -> Outcome:
    """Search for a ticket, train it to the last epoch, and measure it there and where it was best."""
    lab.calibrate()
    ticket = search(lab, trial.method, density_of(trial.sparsity))
    states = [lab.train(ticket.start, ticket.mask, to=epoch) for epoch in _stops(trial, ticket)]
    selection = lab.select(states) if trial.evaluation.selection else None
    return Outcome(ticket, states[-1], lab.evaluate(states[-1]), selection)


def _stops(trial: Trial, ticket: Ticket) -> list[int]:
    """The epochs at which a ticket's training is looked at, the same for every ticket; the last of them is its end."""
    selection = trial.evaluation.selection
    between = range(selection.every, trial.epochs, selection.every) if selection else ()
    return [*(epoch for epoch in between if epoch > ticket.start.epoch), trial.epochs]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The epochs after `begin` up to `end` of a line."""

    state: State
    begin: int

    @property
    def epochs(self) -> int:
        return self.state.epoch - self.begin


def stretches(lab: Laboratory) -> list[Stretch]:
    """Everything a trial's program trains, as if nothing were shared: each of its lines, in order of first use."""
    ends: defaultdict[str, list[Train]] = defaultdict(list)
    for stage in lab.stages.values():
        if isinstance(stage, Train):
            ends[stage.line.key].append(stage)
    furthest = [max(stages, key=lambda stage: stage.to) for stages in ends.values()]
    return [Stretch(State(stage.line, stage.to), stage.line.start) for stage in furthest]


def ticket_stretch(outcome: Outcome) -> Stretch:
    """What training the ticket takes; all else that the program trains is what finding it takes."""
    return Stretch(outcome.final, outcome.ticket.start.epoch)
