"""An early-bird ticket from a fixed epoch, without early-bird detection."""

from __future__ import annotations

from search_spaces.methods import FixedEpoch
from workers.lab.laboratory import Laboratory
from workers.lab.references import Steps, Ticket


def fixed_epoch(lab: Laboratory, method: FixedEpoch, target: float) -> Ticket:
    """Train the dense network to epoch `method.epoch`, and prune it to density `target`. The ticket starts there."""
    state = lab.train(lab.initial(), lab.dense(), to=method.epoch, steps=Steps(l1=method.l1))
    return Ticket(state, lab.prune(state, lab.dense(), by=method.criterion, density=target), found=state)
