"""Masks that keep as much elsewhere: shuffled within layers or by filters, random, by other layer densities."""

from __future__ import annotations

from dataclasses import replace

from search_spaces.methods import Control
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def redrawn(lab: Laboratory, method: Control, ticket: Ticket) -> Ticket:
    """Keep the start state; what of the mask is left to chance is what the control is named for."""
    return replace(ticket, mask=lab.redraw(ticket.mask, method.name))
