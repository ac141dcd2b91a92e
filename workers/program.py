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
    """The ticket a trial found, the state it was trained to, and the key of what was measured there."""

    ticket: Ticket
    final: State
    evaluation: str


def run_program(lab: Laboratory, trial: Trial) -> Outcome:
    """Search for a ticket, train it to the last epoch, and measure it."""
    ticket = search(lab, trial.method, density_of(trial.sparsity))
    final = lab.train(ticket.start, ticket.mask, to=lab.epochs)
    return Outcome(ticket, final, lab.evaluate(final))


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
