"""A small dense network, of the size of a ticket."""

from __future__ import annotations

from search_spaces.controls import SmallDense
from workers.lab.laboratory import Laboratory
from workers.lab.references import Slim, Ticket


def small_dense(lab: Laboratory, method: SmallDense, ticket: Ticket) -> Ticket:
    """Take nothing but the size of the ticket; all of a narrower network is trained from its initialisation."""
    start = lab.initial(slim=Slim(ticket.mask, method.equal))
    return Ticket(start, lab.dense(), found=start)
