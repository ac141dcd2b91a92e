"""Scopes: find the weights of a network that a mask is for."""

from __future__ import annotations

from torch import Tensor

from search_spaces.criterion import Scope
from search_spaces.errors import TombolaError
from workers.models import Family


class CriterionError(TombolaError):
    """A criterion cannot be applied to a network."""


def in_scope(family: Family, scope: Scope | None) -> dict[str, Tensor]:
    """The prunable weights of a network that `scope` contains, by name. Without a scope, all prunable weights.

    Raises:
        CriterionError: if the scope contains no weights, or the network does not have an exempt role.
    """
    if scope is None:
        return family.prunable()
    roles = {name: family.role(name) for name in family.prunable()}
    for exempt in scope.exempt:
        if not any(_begins(role, exempt) for role in roles.values()):
            raise CriterionError(f"scope.exempt: there is no role {exempt!r}; there are {', '.join(roles.values())}")
    chosen = {
        name: weight
        for name, weight in family.prunable().items()
        if (not scope.components or name.split(".")[0] in scope.components)
        and not any(_begins(roles[name], exempt) for exempt in scope.exempt)
    }
    if not chosen:
        raise CriterionError("scope: it leaves nothing to prune")
    return chosen


def _begins(role: str, beginning: str) -> bool:
    return role == beginning or role.startswith(f"{beginning}.")
