"""A found mask shuffled within its layers (Frankle et al. 2021)."""

from __future__ import annotations

from search_spaces.methods import ShuffleLayer
from workers.laboratory import Laboratory
from workers.stages import Ticket


def shuffle_layer(lab: Laboratory, method: ShuffleLayer, ticket: Ticket) -> Ticket:
    """Keep the start state and every layer's kept count; which of its weights are kept is left to chance."""
    return Ticket(ticket.start, lab.shuffle_layer(ticket.mask))
