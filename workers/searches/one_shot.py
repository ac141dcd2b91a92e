"""Magnitude pruning in a single round."""

from __future__ import annotations

from search_spaces.methods import OneShot
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def one_shot(lab: Laboratory, method: OneShot, target: float) -> Ticket:
    """Train once, prune straight to density `target`, and rewind."""
    assert method.rewind is not None
    start = lab.train(lab.initial(), lab.dense(), to=method.rewind)
    trained = lab.train(start, lab.dense(), to=lab.epochs)
    return Ticket(start, lab.prune(trained, lab.dense(), by=method.criterion, density=target), found=trained)
