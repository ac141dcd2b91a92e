"""The random ticket of Kalibhat et al. (2021): a found mask on fresh weights."""

from __future__ import annotations

from search_spaces.methods import Reinit
from workers.laboratory import Laboratory
from workers.stages import Ticket


def reinit(lab: Laboratory, method: Reinit, ticket: Ticket) -> Ticket:
    """Keep the mask; start from an independent initialisation, at epoch 0."""
    return Ticket(lab.initial(draw="reinit"), ticket.mask)
