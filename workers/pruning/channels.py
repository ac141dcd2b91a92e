"""Channels: the hidden channels of a network, and where its tensors hold them.

A channel mask is an ordinary mask in which a removed channel has lost all weights that make it and all that read it.
Only chains of layers are understood. A layer that may mix channels is a barrier: those before it are left alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from workers.pruning.mask import Mask


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
    read them, `along` all else that has an entry for each: biases, and weights and statistics of norms. `gammas`
    are the norms' weights of one entry a channel, `unflattens` the layers that count the channels in their sizes.
    """

    name: str
    size: int
    outputs: tuple[Slice, ...]
    inputs: tuple[Slice, ...]
    along: tuple[Slice, ...]
    gammas: tuple[str, ...]
    unflattens: tuple[str, ...] = ()


def channel_groups(networks: nn.ModuleDict) -> list[ChannelGroup]:
    """The groups of all component networks, in the order of their layers.

    A component has none if it is no chain (an nn.Sequential of layers or of further ones), or shares a tensor.
    Inputs and outputs of a component are never a group.
    """
    tensors: dict[str, Tensor] = networks.state_dict(keep_vars=True)
    uses = Counter(id(tensor) for tensor in tensors.values())
    groups: list[ChannelGroup] = []
    for name, network in networks.items():
        layers = list(_layers(name, network))
        shares = any(uses[id(tensor)] > 1 for tensor in network.state_dict(keep_vars=True).values())
        if not shares and not any(list(layer.children()) for _, layer in layers):
            groups += _groups_of(layers)
    return groups


def groups_within(networks: nn.ModuleDict, kernels: Container[str]) -> list[ChannelGroup]:
    """The groups of which all kernels that make or read them are among `kernels`, by name."""
    groups = channel_groups(networks)
    return [g for g in groups if all(part.tensor in kernels for part in (*g.outputs, *g.inputs))]


def expand(groups: Iterable[ChannelGroup], kept: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Mask:
    """The mask of `parameters` that removes the channels that are False in `kept`, a vector for each group by name."""
    weights = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}
    for group in groups:
        assert kept[group.name].shape == (group.size,), f"{group.name} has {group.size} channels"
        for part in (*group.outputs, *group.inputs):
            removed = part.features(~kept[group.name].cpu()).nonzero().flatten()
            weights[part.tensor].index_fill_(part.axis, removed, False)
    return Mask(weights)


def kept_channels(groups: Iterable[ChannelGroup], mask: Mask) -> dict[str, Tensor]:
    """A bool vector for each group, by its name: False where no weight is left that makes or reads the channel.

    Tensors that the mask lacks are kept. This undoes `expand`, save that no channel is left between two groups that
    have lost all of theirs.
    """
    return {
        group.name: torch.stack([_used(group, part, mask) for part in (*group.outputs, *group.inputs)]).any(0)
        for group in groups
    }


def _used(group: ChannelGroup, part: Slice, mask: Mask) -> Tensor:
    """Whether a kernel keeps any weight of each channel."""
    if part.tensor not in mask:
        return torch.ones(group.size, dtype=torch.bool)
    return mask[part.tensor].movedim(part.axis, 0).reshape(group.size, -1).any(1)


_Kernel = nn.Conv2d | nn.ConvTranspose2d | nn.Linear

_ELEMENTWISE = {
    nn.AlphaDropout,
    nn.CELU,
    nn.Dropout,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.RReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Threshold,
}

_WITHIN_MAPS = {
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.Dropout2d,
    nn.LPPool2d,
    nn.MaxPool2d,
    nn.Upsample,
    nn.UpsamplingBilinear2d,
    nn.UpsamplingNearest2d,
}


@dataclass
class _Open:
    """A group whose channels were made and not read yet.

    They lie along axis 1 as feature maps (`spatial`) or as features; as several for each, nobody knows yet how many,
    where maps were flattened (`folded`).
    """

    name: str
    size: int
    outputs: tuple[Slice, ...]
    along: tuple[Slice, ...]
    norms: tuple[str, ...]
    unflattens: tuple[str, ...]
    spatial: bool
    folded: bool

    @classmethod
    def after(cls, name: str, layer: _Kernel) -> Self:
        axis = _output_axis(layer)
        outputs = (Slice(f"{name}.weight", axis, 1),)
        along = (Slice(f"{name}.bias", 0, 1),) if layer.bias is not None else ()
        spatial = not isinstance(layer, nn.Linear)
        return cls(f"{name}.weight", layer.weight.shape[axis], outputs, along, (), (), spatial, folded=False)

    def read_by(self, name: str, layer: _Kernel) -> ChannelGroup | None:
        """The whole group, or None if the layer reads along another axis."""
        axis = 1 - _output_axis(layer)
        block = self._block(layer.weight.shape[axis])
        if not block or self.spatial == isinstance(layer, nn.Linear):
            return None
        gammas = tuple(part.tensor for part in self.along if part.tensor in self.norms and part.block == 1)
        inputs = (Slice(f"{name}.weight", axis, block),)
        return ChannelGroup(self.name, self.size, self.outputs, inputs, self.along, gammas, self.unflattens)

    def passes(self, name: str, layer: nn.Module) -> bool:
        """Go on through a layer without kernels; False if it may mix channels."""
        # A subclass may do anything.
        kind = type(layer)
        if kind in _ELEMENTWISE:
            return True
        if kind in _WITHIN_MAPS:
            return self.spatial
        if isinstance(layer, nn.PReLU):
            return kind is nn.PReLU and layer.num_parameters == 1
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            return kind is (nn.BatchNorm2d if self.spatial else nn.BatchNorm1d) and self._normalised(name, layer)
        if isinstance(layer, nn.Flatten):
            return kind is nn.Flatten and self._flattened(layer)
        if isinstance(layer, nn.Unflatten):
            return kind is nn.Unflatten and self._unflattened(name, layer)
        return False

    def _block(self, features: int) -> int:
        """Features of each channel where there are so many in all; 0 if these cannot be the channels."""
        whole = features == self.size or (self.folded and features % self.size == 0)
        return features // self.size if whole else 0

    def _normalised(self, name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
        block = self._block(norm.num_features)
        held = (f"{name}.{inner}" for inner, tensor in norm.state_dict().items() if tensor.dim())
        self.along += tuple(Slice(tensor, 0, block) for tensor in held)
        self.norms += (f"{name}.weight",)
        return block > 0

    def _flattened(self, layer: nn.Flatten) -> bool:
        self.folded |= self.spatial
        self.spatial = False
        return (layer.start_dim, layer.end_dim) == (1, -1)

    def _unflattened(self, name: str, layer: nn.Unflatten) -> bool:
        sizes = [size for size in layer.unflattened_size if isinstance(size, int) and size > 0]
        if layer.dim != 1 or len(sizes) != 3 or len(layer.unflattened_size) != 3:
            return False
        if math.prod(sizes) == self.size:
            self._regroup(sizes[0])
        elif not self.folded or sizes[0] != self.size:
            return False
        self.unflattens += (name,)
        self.spatial, self.folded = True, False
        return True

    def _regroup(self, size: int) -> None:
        """Count features that become one map as one channel."""
        together = self.size // size
        self.outputs, self.along = (
            tuple(replace(part, block=part.block * together) for part in parts) for parts in (self.outputs, self.along)
        )
        self.size = size


def _groups_of(layers: Iterable[tuple[str, nn.Module]]) -> Iterator[ChannelGroup]:
    current: _Open | None = None
    for name, layer in layers:
        if _is_kernel(layer):
            assert isinstance(layer, _Kernel)
            if current is not None and (group := current.read_by(name, layer)) is not None:
                yield group
            current = _Open.after(name, layer)
        elif current is not None and not current.passes(name, layer):
            current = None


def _layers(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a chain in the order they are called, with their names."""
    if type(module) is nn.Sequential:
        # named_children would leave out a layer's second call
        for inner, child in zip(module._modules, module, strict=True):
            yield from _layers(f"{name}.{inner}", child)
    else:
        yield name, module


def _is_kernel(layer: nn.Module) -> bool:
    """Whether the layer mixes all channels by a kernel that is a plain parameter, not one computed by a hook."""
    plain = type(layer) in (nn.Conv2d, nn.ConvTranspose2d, nn.Linear) and "weight" in dict(layer.named_parameters())
    return plain and getattr(layer, "groups", 1) == 1


def _output_axis(layer: _Kernel) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0
