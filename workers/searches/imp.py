"""Iterative magnitude pruning with rewinding (Frankle et al. 2020)."""

from __future__ import annotations

from search_spaces.base.sparsity import geometric
from search_spaces.methods import IMP
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def imp(lab: Laboratory, method: IMP, target: float) -> Ticket:
    """Repeat rounds until density `target` is reached: train, prune a fraction of what is left, and rewind."""
    assert method.rewind is not None
    mask = lab.dense()
    trained = start = lab.train(lab.initial(), mask, to=method.rewind)
    moments = start if method.optimizer == "rewound" else None
    for density in geometric(target, method.rate):
        trained = lab.train(start, mask, to=lab.epochs, moments=moments)
        mask = lab.prune(trained, mask, by=method.criterion, density=density)
    return Ticket(start, mask, found=trained)
