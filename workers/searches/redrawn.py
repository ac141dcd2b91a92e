"""Controls that keep as many weights or channels in other positions, such as `shuffle_layer` and `erk`."""

from __future__ import annotations

from dataclasses import replace

from search_spaces.methods import Control
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def redrawn(lab: Laboratory, method: Control, ticket: Ticket) -> Ticket:
    """Keep the start state, and redraw the mask. The name of the control says how."""
    return replace(ticket, mask=lab.redraw(ticket.mask, method.name))
