"""A small dense network with the size of a ticket."""

from __future__ import annotations

from search_spaces.controls import SmallDense
from workers.lab.laboratory import Laboratory
from workers.lab.references import Slim, Ticket


def small_dense(lab: Laboratory, method: SmallDense, ticket: Ticket) -> Ticket:
    """Train a narrower dense network from its own initialisation. It takes only its size from the ticket."""
    start = lab.initial(slim=Slim(ticket.mask, method.equal))
    return Ticket(start, lab.dense(), found=start)
