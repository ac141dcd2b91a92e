"""Ticket searches: each a short program over the laboratory's verbs, found by the name of its method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search_spaces.methods import Control, Method
from workers.laboratory import Laboratory
from workers.searches.dense import dense
from workers.searches.imp import imp
from workers.searches.one_shot import one_shot
from workers.searches.reinit import reinit
from workers.searches.shuffle_layer import shuffle_layer
from workers.stages import Ticket

Search = Callable[[Laboratory, Any, float], Ticket]
"""A finder: from a laboratory, the options of its method and a target density to a ticket."""

ControlSearch = Callable[[Laboratory, Any, Ticket], Ticket]
"""A control: from a laboratory, the options of its method and the finder's ticket to another ticket."""

searches: dict[str, Search] = {"dense": dense, "imp": imp, "one_shot": one_shot}
controls: dict[str, ControlSearch] = {"reinit": reinit, "shuffle_layer": shuffle_layer}


def search(lab: Laboratory, method: Method, density: float) -> Ticket:
    """Run the search program of `method` in `lab`."""
    if isinstance(method, Control):
        return controls[method.name](lab, method, search(lab, method.of, density))
    return searches[method.name](lab, method, density)
