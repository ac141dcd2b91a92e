"""Compaction: train a network whose mask removes whole channels as a physically smaller network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from workers.channels.kept import ChannelGroup, Slice, channel_groups, kept_channels
from workers.masks.mask import Mask
from workers.models import Family, without_weights
from workers.models.layers.kernels import kernel_of
from workers.models.state import Snapshot, tensor_of


class Compaction:
    """Converts states between a masked network and the smaller network without its removed channels.

    Both networks compute the same, as long as the losses of `family` see only the outputs of the networks. `family`
    can be without weights. If a group has lost all channels, it keeps the first one as a placeholder, which stays
    masked. The attribute `mask` is the mask of the smaller network. A network that follows a component loses the same
    channels as the component.
    """

    def __init__(self, family: Family, mask: Mask) -> None:
        self._family = family
        self._dense_mask = family.masked(mask)
        self._groups = channel_groups(family.networks)
        self._channels = {name: _or_first(kept) for name, kept in self._kept().items()}
        self._cuts: dict[str, dict[int, Tensor]] = {}
        for tensor, axis, features in self._removals():
            self._cuts.setdefault(tensor, {})[axis] = features.nonzero().flatten()
        self.mask = Mask({name: self._cut(name, kept) for name, kept in mask.items()})

    @property
    def placeholders(self) -> int:
        """The number of bias and norm parameters that belong to placeholders."""
        networks, kept = self._family.networks, self._kept()
        trained = (name for name, parameter in networks.named_parameters() if parameter.requires_grad)
        parameters = {name for name in trained if name.split(".")[0] in self._family.bodies}
        emptied = (group for group in self._groups if not kept[group.name].any())
        return sum(part.block for group in emptied for part in group.along if part.tensor in parameters)

    def _kept(self) -> dict[str, Tensor]:
        return kept_channels(self._groups, self._dense_mask)

    @property
    def smaller(self) -> bool:
        """Whether the mask removes any channel."""
        return bool(self._cuts)

    def family(self) -> Family:
        """Build the smaller family, with its parameters on the meta device."""
        family = copy.deepcopy(self._family)
        networks = family.networks
        without_weights(networks)
        tensors: dict[str, Tensor] = networks.state_dict(keep_vars=True)
        for name in self._cuts:
            path, _, inner = name.rpartition(".")
            smaller = self._cut(name, tensors[name].detach())
            if isinstance(tensors[name], nn.Parameter):
                smaller = nn.Parameter(smaller, tensors[name].requires_grad)
            setattr(networks.get_submodule(path), inner, smaller)
        for path in {_layer_of(name) for name in self._cuts}:
            _recount(networks.get_submodule(path))
        for group in self._groups:
            for path in group.unflattens:
                _resize(networks.get_submodule(path), int(self._channels[group.name].sum()))
        return family

    def compact(self, snapshot: Snapshot) -> dict[str, Tensor]:
        """Convert a state to the smaller network: the weights, buffers and moments of the channels that are left."""
        return {name: self._cut(tensor_of(name), tensor) for name, tensor in snapshot.items()}

    def scatter(self, compacted: Snapshot, onto: Snapshot) -> dict[str, Tensor]:
        """Convert a state of the smaller network to the shapes of the whole network.

        Removed channels get their values from `onto`. Moments that `onto` does not have become zero. All masked
        weights become zero.
        """
        tensors = {name: self._scattered(name, tensor, onto) for name, tensor in compacted.items()}
        return tensors | {n: tensors[n].masked_fill(~kept, 0) for n, kept in self._dense_mask.items() if n in tensors}

    def _removals(self) -> Iterator[tuple[str, int, Tensor]]:
        """Yield the name, the axis and the kept features of each tensor that loses features along an axis."""
        for group in self._groups:
            channels = self._channels[group.name]
            if not channels.all():
                for part in _parts(group):
                    yield part.tensor, part.axis, part.features(channels)

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        """Cut a tensor with the shape of the weight or buffer `name`. Scalars, such as step counts, stay unchanged."""
        if tensor.dim():
            for axis, kept in self._cuts.get(name, {}).items():
                tensor = tensor.index_select(axis, kept.to(tensor.device))
        return tensor

    def _scattered(self, name: str, tensor: Tensor, onto: Snapshot) -> Tensor:
        weight = tensor_of(name)
        if weight not in self._cuts or not tensor.dim():
            return tensor
        whole = onto[name].clone() if name in onto else tensor.new_zeros(onto[weight].shape)
        whole[_places(self._cuts[weight], whole.shape)] = tensor
        return whole


def _parts(group: ChannelGroup) -> tuple[Slice, ...]:
    return (*group.outputs, *group.inputs, *group.along)


def _or_first(kept: Tensor) -> Tensor:
    """The kept channels, or the first channel if none is kept, because no layer can have width zero."""
    return kept if kept.any() else torch.arange(len(kept)) == 0


def _places(cuts: Mapping[int, Tensor], shape: torch.Size) -> tuple[Tensor, ...]:
    """Index the entries that `cuts` keep. The index covers the axes from 0 to the last cut axis."""
    axes = range(max(cuts) + 1)
    kept = [cuts.get(axis, torch.arange(shape[axis])) for axis in axes]
    return tuple(index.reshape(-1, *[1] * (len(axes) - 1 - axis)) for axis, index in zip(axes, kept, strict=True))


def _layer_of(name: str) -> str:
    """The path of the layer that holds a tensor, directly or in a parametrisation."""
    layer, parametrised, _ = name.partition(".parametrizations.")
    return layer if parametrised else name.rpartition(".")[0]


def _recount(layer: nn.Module) -> None:
    """Set the size attributes of a layer to the sizes of its tensors."""
    kernel = kernel_of(layer)
    if kernel is not None and isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = kernel.shape
    elif kernel is not None and isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = kernel.shape[:2]
    elif kernel is not None and isinstance(layer, nn.ConvTranspose2d):
        layer.in_channels, layer.out_channels = kernel.shape[:2]
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        layer.num_features = len(next(iter(layer.state_dict().values())))


def _resize(layer: nn.Module, channels: int) -> None:
    assert isinstance(layer, nn.Unflatten)
    layer.unflattened_size = (channels, *layer.unflattened_size[1:])
