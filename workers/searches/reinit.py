"""The random ticket of Kalibhat et al. (2021): the finder's mask on new initial weights."""

from __future__ import annotations

from search_spaces.methods import Control
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def reinit(lab: Laboratory, method: Control, ticket: Ticket) -> Ticket:
    """Keep the mask, and any moments. Start from an independent initialisation, at epoch 0."""
    return Ticket(lab.initial(draw="reinit"), ticket.mask, found=ticket.found, moments=ticket.moments)
