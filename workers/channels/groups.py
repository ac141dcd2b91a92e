"""Groups of channels: what can only be removed together, and where tensors hold it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a tensor holds the channels of a group: in order along `axis`, each as `block` neighbouring features."""

    tensor: str
    axis: int
    block: int

    def features(self, channels: Tensor) -> Tensor:
        """A bool for every feature along the axis, from one for every channel."""
        return channels.repeat_interleave(self.block)


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """The hidden channels between layers, which can only be removed from all of these together.

    `name` is that of the first producing kernel. `outputs` are the kernels that make the channels, `inputs` those that
    read them, `along` all else that has an entry for each: biases, norms and their statistics, vectors of spectral
    norms. `gammas` are the norms' weights of one entry a channel, `unflattens` the layers that count the channels in
    their sizes.
    """

    name: str
    size: int
    outputs: tuple[Slice, ...]
    inputs: tuple[Slice, ...]
    along: tuple[Slice, ...]
    gammas: tuple[str, ...]
    unflattens: tuple[str, ...] = ()
