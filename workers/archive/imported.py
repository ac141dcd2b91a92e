"""Tickets in files: their format, and the keys of imported tickets in a store. No torch."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import ValidationError

from search_spaces.base.canonical import digest
from search_spaces.base.plugins import import_plugins
from search_spaces.errors import TombolaError, sentence
from search_spaces.transfer import Imported
from workers.lab.references import Line, MaskKey, State
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects

FORMAT = "tombola ticket 1"
"""The value of `format` in the metadata of a ticket file."""

MASK = "mask/"
"""The prefix of a mask's tensors in a ticket file. All other tensors are weights and buffers."""


class TicketError(TombolaError):
    """A ticket that cannot be imported, or that a store does not have."""


def imported_mask(sha256: str) -> MaskKey:
    """The key of the mask in a ticket file with this SHA-256."""
    return MaskKey(digest({"verb": "import", "version": 1, "ticket": sha256, "part": "mask"}))


def imported_state(sha256: str) -> State:
    """The state of the weights in a ticket file with this SHA-256: epoch 0, without moments."""
    return State(Line(digest({"verb": "import", "version": 1, "ticket": sha256, "part": "state"})), 0)


def plugins_of(store: Store, ticket: str) -> tuple[str, ...]:
    """Return the plugins that the model of an imported ticket needs."""
    return tuple((Objects(store).read_fact(names.ticket(ticket), dict[str, Any]) or {}).get("plugins", ()))


def imported(store: Store, ticket: str) -> Imported:
    """Return the imported ticket with this id, after importing the plugins that its model needs.

    Raises:
        TicketError: if the store has no such ticket, or its model is unknown here.
    """
    fact = Objects(store).read_fact(names.ticket(ticket), dict[str, Any])
    if fact is None:
        bring = f"tombola import FILE --store {shlex.quote(store.uri)}"
        raise TicketError(f"no ticket {ticket!r} in store {store.uri}; `{bring}` brings one in")
    try:
        import_plugins(plugins_of(store, ticket))
        return Imported.model_validate({key: fact.get(key) for key in Imported.model_fields})
    except ValidationError as error:
        raise TicketError(f"ticket {ticket}: {sentence(error)}") from error
    except ValueError as error:
        raise TicketError(f"ticket {ticket}: {error}") from error
