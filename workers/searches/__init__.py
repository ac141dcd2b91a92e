"""Ticket searches: short programs that use the verbs of the laboratory, by the names of their methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from search_spaces.base.registry import maker
from search_spaces.base.sparsity import density_of
from search_spaces.controls import Invert
from search_spaces.methods import Control, Finder, Method
from search_spaces.transfer import MaskOnly, Source, Transfer
from workers.archive.imported import imported_mask, imported_state
from workers.lab.laboratory import Laboratory
from workers.lab.references import Giver, Ticket
from workers.searches.dense import dense
from workers.searches.early_bird import early_bird
from workers.searches.fine_tune import fine_tune, lr_rewinding
from workers.searches.fixed_epoch import fixed_epoch
from workers.searches.foresight import foresight
from workers.searches.imp import imp
from workers.searches.one_shot import one_shot
from workers.searches.random_chain import random_chain
from workers.searches.redrawn import redrawn
from workers.searches.reinit import reinit
from workers.searches.small_dense import small_dense
from workers.searches.transfer import Given, transfer, weights_only

Search = Callable[[Laboratory, Any, float], Ticket]
"""A finder: a function of a laboratory, the options of the method and a target density. It returns a ticket."""

ControlSearch = Callable[[Laboratory, Any, Ticket], Ticket]
"""A control: a function of a laboratory, the options of the method and the finder's ticket. It returns a ticket."""

searches: dict[str, Search] = {
    "dense": dense,
    "early_bird": early_bird,
    "fixed_epoch": fixed_epoch,
    "grasp": foresight,
    "imp": imp,
    "magnitude": foresight,
    "one_shot": one_shot,
    "random_chain": random_chain,
    "snip": foresight,
    "synflow": foresight,
}
controls: dict[str, ControlSearch] = {
    "early_bird_reinit": reinit,
    "erk": redrawn,
    "fine_tune": fine_tune,
    "lr_rewinding": lr_rewinding,
    "random_channels": redrawn,
    "random_global": redrawn,
    "reinit": reinit,
    "shuffle_filter": redrawn,
    "shuffle_layer": redrawn,
    "small_dense": small_dense,
    "weights_only": weights_only,
}


BUILT_IN: dict[str, dict[str, Any]] = {"searches": dict(searches), "controls": dict(controls)}
"""The built-in entries of the tables that plugins extend."""


def search(lab: Laboratory, method: Method, density: float) -> Ticket:
    """Run the search of `method` in `lab`, for a target density, and return its ticket."""
    if isinstance(method, Invert):  # these controls change how the finder searches, not the ticket that it finds
        return search(lab, method.of.inverted(), density)
    if isinstance(method, MaskOnly):
        return search(lab, method.finder, density)
    if isinstance(method, Control):
        control = maker(controls, method.name, "workers.searches.controls")
        return control(lab, method, search(lab, method.of, density))
    if isinstance(method, Transfer):
        ticket = transfer(lab, method, _given(lab, method.source))
    else:
        ticket = maker(searches, method.name, "workers.searches.searches")(lab, method, density)
    rewound = isinstance(method, Finder) and method.optimizer == "rewound"
    return replace(ticket, moments=ticket.start) if rewound else ticket


def _given(lab: Laboratory, source: Source) -> Given:
    """The ticket of a source. If the source is a trial, its search runs in the laboratory of that trial."""
    if source.imported:
        giver = Giver(source.imported.model, source.imported.image)
        state = imported_state(source.imported.sha256)
        return Given(giver, imported_mask(source.imported.sha256), state, lambda: state)
    assert source.trial is not None, "a source is resolved before it is planned"
    other = lab.beside(source.trial)
    ticket = search(other, source.trial.method, density_of(source.trial.sparsity))
    return Given(other.as_giver, ticket.mask, ticket.start, other.initial)
