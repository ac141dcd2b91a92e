"""Facts: the types of the store's JSON objects. Reading checks them. No torch."""

from __future__ import annotations

from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

_MORE = ConfigDict(extra="allow")


@with_config(_MORE)
class Pruning(TypedDict):
    """How a mask was found: `scored_by` which score, at which cost; `epoch` is that of a mask that emerged."""

    scored_by: str
    flops: int | float
    seconds: int | float
    cpu_seconds: int | float
    epoch: NotRequired[int]


@with_config(_MORE)
class Emerged(TypedDict):
    """The `epoch` of a mask that emerged; its other keys are those of `Pruning`."""

    epoch: int


@with_config(_MORE)
class Evaluation(TypedDict):
    """The metrics of a state, the seconds that measuring took, and the machine that did it."""

    metrics: dict[str, float]
    seconds: int | float
    machine: dict[str, Any]


@with_config(_MORE)
class Selection(TypedDict):
    """The selected epoch, the metric `by` which it was selected, its `values`, and the key of the evaluation."""

    by: str
    values: list[float]
    epoch: int
    evaluation: str


@with_config(_MORE)
class Roster(TypedDict):
    """The name of a sweep and the ids of its trials."""

    sweep: str
    trials: list[str]


@with_config(_MORE)
class PluginCode(TypedDict):
    """The `code` of a plugin module, the code it `counts_as`, and when it was first and last used."""

    code: str
    counts_as: str
    since: str
    used: str
