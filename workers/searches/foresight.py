"""Pruning before training: SNIP, GraSP, SynFlow and the magnitude of initial weights."""

from __future__ import annotations

from search_spaces.methods import Foresight
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def foresight(lab: Laboratory, method: Foresight, target: float) -> Ticket:
    """Prune the start state of the ticket to density `target`."""
    assert method.rewind is not None
    start = lab.train(lab.initial(), lab.dense(), to=method.rewind)
    return Ticket(start, lab.prune(start, lab.dense(), by=method.criterion, density=target), found=start)
