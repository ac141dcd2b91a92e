"""The search in the code of Kalibhat et al. (2021), whose result they call a random ticket."""

from __future__ import annotations

from search_spaces.base.sparsity import geometric
from search_spaces.methods import RandomChain
from workers.lab.laboratory import Laboratory
from workers.lab.references import Ticket


def random_chain(lab: Laboratory, method: RandomChain, target: float) -> Ticket:
    """Repeat rounds until density `target` is reached: train, prune a fraction of what is left, and reinitialise."""
    mask = lab.dense()
    trained = start = lab.initial()
    for number, density in enumerate(geometric(target, method.rate), start=1):
        trained = lab.train(start, mask, to=lab.epochs)
        mask = lab.prune(trained, mask, by=method.criterion, density=density)
        start = lab.initial(draw=f"round {number}")
    return Ticket(start, mask, found=trained)
