"""Early-bird tickets (You et al. 2020)."""

from __future__ import annotations

from search_spaces.methods import EarlyBird
from workers.lab.laboratory import Laboratory
from workers.lab.references import Steps, Ticket


def early_bird(lab: Laboratory, method: EarlyBird, target: float) -> Ticket:
    """Train the dense network until a mask emerges. The ticket starts from that epoch or from the rewind epoch."""
    emerged, mask = lab.emerge(
        lab.initial(),
        by=method.criterion,
        density=target,
        look_back=method.look_back,
        delta=method.delta,
        last=method.search_epochs(lab.epochs),
        steps=Steps(l1=method.l1),
    )
    if method.start == "emergence":
        return Ticket(emerged, mask, found=emerged)
    assert method.rewind is not None
    return Ticket(lab.train(lab.initial(), lab.dense(), to=method.rewind), mask, found=emerged)
