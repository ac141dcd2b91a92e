"""Criteria, by which the weights that a mask keeps are chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from search_spaces.base.registry import Spec


class Scope(Spec):
    """Which weights are pruned, and which of them are ranked together.

    `components` are pruned; if none is named, all are. `exempt` lists prefixes of the roles of tensors that are not
    pruned: `decode.up1` exempts the whole stage next to the image.
    """

    components: tuple[str, ...] = ()
    ranking: Literal["global", "per_component", "layerwise"] = "global"
    exempt: tuple[str, ...] = ()


class Channels(Spec):
    """How whole channels are chosen: by the scales of their batch norms.

    Every layer keeps at least `minimum` channels. With `round_to`, it keeps a multiple of it, if the layer has that
    many. `fallback` ranks the channels of a network without batch norm by the norms of their filters.
    """

    round_to: Literal[8, 16] | None = None
    minimum: int = Field(default=1, gt=0)
    fallback: Literal["filter_norm"] | None = None


class Criterion(Spec):
    """A scorer by name, the scope it ranks in, and its options; an option that does not apply is None.

    `iterations` is the number of steps to the target. `images` is the number of training images that the scorer reads.
    `loss` is each component's own loss, or the sum of all. `temperature` divides logits. `channels` ranks channels
    instead of weights. `keep` reverses the ranking.
    """

    score: str
    scope: Scope | None = None
    keep: Literal["worst"] | None = None
    iterations: int | None = Field(default=None, gt=0)
    images: int | None = Field(default=None, gt=0)
    loss: Literal["own", "joint"] | None = None
    temperature: float | None = Field(default=None, gt=0)
    channels: Channels | None = None
