"""Find the groups of channels in a network, with a walk through its layers from the input to the output.

A layer that may mix channels is a barrier. A group that reaches a barrier or the output of the network is dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from workers.channels.groups import ChannelGroup, Slice
from workers.channels.kernels import Kernel
from workers.models.backbones.residual import Residual

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


def groups_of(name: str, network: nn.Module) -> list[ChannelGroup]:
    """The groups of a network, in the order of the first kernels that make them."""
    walk = _Walk()
    output = walk.through(name, network, None)
    if output is not None:
        output.group.lose()
    return [group.done() for group in walk.groups if group.whole] if walk.understands else []


@dataclass
class _Group:
    """A group under construction. If it joins an earlier group, `into` is that group."""

    name: str
    size: int
    outputs: tuple[Slice, ...]
    inputs: tuple[Slice, ...] = ()
    along: tuple[Slice, ...] = ()
    norms: tuple[str, ...] = ()
    unflattens: tuple[str, ...] = ()
    lost: bool = False
    forked: bool = False
    into: _Group | None = None

    @property
    def root(self) -> _Group:
        return self if self.into is None else self.into.root

    @property
    def whole(self) -> bool:
        return self.into is None and not self.lost and bool(self.inputs)

    def lose(self) -> None:
        self.root.lost = True

    def join(self, other: _Group) -> None:
        """Merge another group into this one, because a shortcut adds their channels."""
        mine, theirs = self.root, other.root
        if mine is not theirs:
            theirs.into = mine
            mine.outputs += theirs.outputs
            mine.inputs += theirs.inputs
            mine.along += theirs.along
            mine.norms += theirs.norms
            mine.unflattens += theirs.unflattens
            mine.lost |= theirs.lost or mine.size != theirs.size
            mine.forked = True

    def regroup(self, size: int) -> None:
        """Count all features that an `Unflatten` turns into one map as one channel."""
        together = self.size // size
        self.outputs, self.along = (
            tuple(replace(part, block=part.block * together) for part in parts) for parts in (self.outputs, self.along)
        )
        self.size = size

    def done(self) -> ChannelGroup:
        gammas = tuple(part.tensor for part in self.along if part.tensor in self.norms and part.block == 1)
        return ChannelGroup(self.name, self.size, self.outputs, self.inputs, self.along, gammas, self.unflattens)


@dataclass
class _Place:
    """A place between two layers: the group whose channels lie along axis 1 there, and their form.

    The channels are feature maps (`spatial`) or features. After maps are flattened (`folded`), each channel has several
    features, and their number is not known yet.
    """

    group: _Group
    spatial: bool
    folded: bool = False

    def read_by(self, kernel: Kernel) -> None:
        group = self.group.root
        block = self._block(kernel.reads)
        if not block or self.spatial == kernel.flat:
            group.lose()
            return
        group.inputs += (Slice(kernel.tensor, 1 - kernel.axis, block),)
        if kernel.vector:
            group.along += (Slice(kernel.vector, 0, block * kernel.places),)

    def joined(self, other: _Place) -> _Place | None:
        """The place of the sum of two places. None if their channels differ in form."""
        self.group.root.join(other.group.root)
        if (self.spatial, self.folded) == (other.spatial, other.folded):
            return self
        self.group.lose()
        return None

    def passes(self, name: str, layer: nn.Module) -> bool:
        """Go through a layer without a kernel. Return False if the layer may mix channels."""
        # Compare the exact type, because a subclass can compute anything.
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
        """The number of features per channel, from the number of all features; 0 if the numbers do not fit."""
        size = self.group.root.size
        whole = features == size or (self.folded and features % size == 0)
        return features // size if whole else 0

    def _normalised(self, name: str, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
        group, block = self.group.root, self._block(norm.num_features)
        held = (f"{name}.{inner}" for inner, tensor in norm.state_dict().items() if tensor.dim())
        group.along += tuple(Slice(tensor, 0, block) for tensor in held)
        group.norms += (f"{name}.weight",)
        return block > 0

    def _flattened(self, layer: nn.Flatten) -> bool:
        self.folded |= self.spatial
        self.spatial = False
        return (layer.start_dim, layer.end_dim) == (1, -1)

    def _unflattened(self, name: str, layer: nn.Unflatten) -> bool:
        group = self.group.root
        sizes = [size for size in layer.unflattened_size if isinstance(size, int) and size > 0]
        if layer.dim != 1 or len(sizes) != 3 or len(layer.unflattened_size) != 3:
            return False
        if math.prod(sizes) == group.size and not group.forked:
            group.regroup(sizes[0])
        elif not self.folded or sizes[0] != group.size:
            return False
        group.unflattens += (name,)
        self.spatial, self.folded = True, False
        return True


@dataclass
class _Walk:
    """A walk through one network.

    `understands` becomes False at a module made of layers that is neither a chain nor a shortcut.
    """

    groups: list[_Group] = field(default_factory=list)
    understands: bool = True

    def through(self, name: str, module: nn.Module, place: _Place | None) -> _Place | None:
        """Go through a module, and return the place after it. None means that there is no group at a place."""
        if type(module) is nn.Sequential:
            # named_children leaves out the second use of a layer
            for inner, child in zip(module._modules, module, strict=True):
                place = self.through(f"{name}.{inner}", child, place)
            return place
        if type(module) is Residual:
            return self._around(name, module, place)
        if (kernel := Kernel.of(name, module)) is not None:
            return self._made_by(kernel, place)
        self.understands &= is_parametrized(module) or not list(module.children())
        if place is not None and not place.passes(name, module):
            place.group.lose()
            return None
        return place

    def _made_by(self, kernel: Kernel, place: _Place | None) -> _Place:
        if place is not None:
            place.read_by(kernel)
        output = Slice(kernel.tensor, kernel.axis, 1)
        self.groups.append(_Group(kernel.tensor, kernel.makes, (output,), along=kernel.along))
        return _Place(self.groups[-1], spatial=not kernel.flat)

    def _around(self, name: str, module: Residual, place: _Place | None) -> _Place | None:
        if place is not None:
            place.group.root.forked = True
        body, shortcut = (
            self.through(f"{name}.{inner}", way, place and replace(place)) for inner, way in module.named_children()
        )
        if body is not None and shortcut is not None:
            first, second = sorted((body, shortcut), key=lambda each: self.groups.index(each.group.root))
            return first.joined(second)
        for way in (body, shortcut):
            if way is not None:
                way.group.lose()
        return None
