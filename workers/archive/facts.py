"""Facts: what the store's JSON objects hold, by which they are checked when they are read. No torch."""

from __future__ import annotations

from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

_MORE = ConfigDict(extra="allow")


@with_config(_MORE)
class Pruning(TypedDict):
    """How a mask was found: `scored_by` what, and in how much; of one that emerged also the `epoch`."""

    scored_by: str
    flops: int | float
    seconds: int | float
    cpu_seconds: int | float
    epoch: NotRequired[int]


@with_config(_MORE)
class Emerged(TypedDict):
    """How a mask that emerged was found: at which `epoch`; the rest is that of `Pruning`."""

    epoch: int


@with_config(_MORE)
class Evaluation(TypedDict):
    """What was measured, how long it took, and the machine that measured it."""

    metrics: dict[str, float]
    seconds: int | float
    machine: dict[str, Any]


@with_config(_MORE)
class Selection(TypedDict):
    """Which epoch was selected, by which metric, and the key of its evaluation."""

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
    """The `code` of a plugin, that which it `counts_as`, since when it is known, and when it was last used."""

    code: str
    counts_as: str
    since: str
    used: str
