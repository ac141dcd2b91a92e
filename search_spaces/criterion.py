"""By what the weights that a mask keeps are chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from search_spaces.base.registry import Spec


class Scope(Spec):
    """Which weights are pruned, and which of them are ranked together.

    `components` are those that are pruned, all where none is named. `exempt` are roles of tensors that are not, by
    their beginnings: `decode.up1` is the whole stage next to the image.
    """

    components: tuple[str, ...] = ()
    ranking: Literal["global", "per_component", "layerwise"] = "global"
    exempt: tuple[str, ...] = ()


class Channels(Spec):
    """How whole channels are chosen: by the scales of their batch norms.

    So many are kept of every layer at least, `minimum`; with `round_to` a multiple of it, where a layer has as many.
    `fallback` ranks those of a network without batch norm by the norms of their filters.
    """

    round_to: Literal[8, 16] | None = None
    minimum: int = Field(default=1, gt=0)
    fallback: Literal["filter_norm"] | None = None


class Criterion(Spec):
    """A scorer by name, the scope it ranks in, and its options, None where it has none.

    `iterations` reach the target in as many steps, `images` are looked at, `loss` is the components' own or the sum,
    `temperature` divides logits, `channels` are ranked instead of weights. `keep` turns the ranking round.
    """

    score: str
    scope: Scope | None = None
    keep: Literal["worst"] | None = None
    iterations: int | None = Field(default=None, gt=0)
    images: int | None = Field(default=None, gt=0)
    loss: Literal["own", "joint"] | None = None
    temperature: float | None = Field(default=None, gt=0)
    channels: Channels | None = None
