"""Tickets that move between models (Kalibhat et al. 2021, section 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from search_spaces.transfer import Transfer, WeightsOnly
from workers.lab.laboratory import Laboratory
from workers.lab.references import DENSE, Giver, MaskKey, State, Ticket


@dataclass(frozen=True, slots=True)
class Given:
    """A ticket of another model: its mask, its start state, and a function for the initial state of its network."""

    giver: Giver
    mask: MaskKey
    start: State
    initial: Callable[[], State]


def transfer(lab: Laboratory, method: Transfer, given: Given) -> Ticket:
    """Move a mask, and weights, role by role.

    Tensors without a counterpart stay dense, and start from the target's own weights.
    """
    assert method.rewind is not None
    own = lab.train(lab.initial(), lab.dense(), to=method.rewind)
    mask = lab.move(given.mask, given.giver, method.bodies)
    if method.weights == "target":
        return Ticket(own, mask, found=own)
    weights = given.initial() if method.weights == "source_init" else given.start
    start = lab.graft(weights, given.giver, method.bodies, onto=own)
    return Ticket(start, mask, found=start)


def weights_only(lab: Laboratory, method: WeightsOnly, ticket: Ticket) -> Ticket:
    """Keep the start state, and mask nothing."""
    return replace(ticket, mask=DENSE)
