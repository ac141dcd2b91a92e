"""Groups of channels, and the slices of tensors that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a tensor that holds the channels of a group.

    The channels lie along `axis` in order. Each channel is `block` neighbouring features.
    """

    tensor: str
    axis: int
    block: int

    def features(self, channels: Tensor) -> Tensor:
        """Expand a bool vector with one entry per channel to one entry per feature along the axis."""
        return channels.repeat_interleave(self.block)


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Hidden channels between layers. A channel can only be removed from all these layers together.

    `name` is the name of the first kernel that makes the channels. `outputs` are the kernels that make the channels,
    and `inputs` are the kernels that read them. `along` are all other tensors with an entry for each channel: biases,
    norms with their statistics, and the vectors of spectral norms. `gammas` are the weights of norms with one entry
    per channel. `unflattens` are the `Unflatten` layers whose sizes contain the number of channels.
    """

    name: str
    size: int
    outputs: tuple[Slice, ...]
    inputs: tuple[Slice, ...]
    along: tuple[Slice, ...]
    gammas: tuple[str, ...]
    unflattens: tuple[str, ...] = ()
