"""No rewinding of weights: a found mask on the trained weights that it was found in (Renda et al. 2020)."""

from __future__ import annotations

from search_spaces.controls import FineTune, LRRewinding
from workers.lab.laboratory import Laboratory
from workers.lab.references import Steps, Ticket


def fine_tune(lab: Laboratory, method: FineTune, ticket: Ticket) -> Ticket:
    """Train on for as many epochs as the ticket gets, at the learning rates that follow."""
    end = ticket.found.epoch + _epochs(lab, ticket)
    return Ticket(ticket.found, ticket.mask, ticket.found, end, moments=ticket.found)


def lr_rewinding(lab: Laboratory, method: LRRewinding, ticket: Ticket) -> Ticket:
    """Train on for as many epochs as the ticket gets, at the learning rates that the ticket gets."""
    end, lag = ticket.found.epoch + _epochs(lab, ticket), ticket.found.epoch - ticket.start.epoch
    return Ticket(ticket.found, ticket.mask, ticket.found, end, Steps(lag=lag), ticket.found)


def _epochs(lab: Laboratory, ticket: Ticket) -> int:
    return lab.epochs - ticket.start.epoch
