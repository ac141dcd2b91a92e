"""Controls that do not rewind weights: the ticket keeps the trained weights of the search (Renda et al. 2020)."""

from __future__ import annotations

from search_spaces.controls import FineTune, LRRewinding
from workers.lab.laboratory import Laboratory
from workers.lab.references import Steps, Ticket


def fine_tune(lab: Laboratory, method: FineTune, ticket: Ticket) -> Ticket:
    """Continue training from the state in which the mask was found, at the learning rates of the epochs that follow.

    The number of epochs is the same as for the finder's ticket.
    """
    end = ticket.found.epoch + _epochs(lab, ticket)
    return Ticket(ticket.found, ticket.mask, ticket.found, end, moments=ticket.found)


def lr_rewinding(lab: Laboratory, method: LRRewinding, ticket: Ticket) -> Ticket:
    """Continue training from the state in which the mask was found, at the learning rates of the finder's ticket.

    The number of epochs is the same as for the finder's ticket.
    """
    end, lag = ticket.found.epoch + _epochs(lab, ticket), ticket.found.epoch - ticket.start.epoch
    return Ticket(ticket.found, ticket.mask, ticket.found, end, Steps(lag=lag), ticket.found)


def _epochs(lab: Laboratory, ticket: Ticket) -> int:
    return lab.epochs - ticket.start.epoch
