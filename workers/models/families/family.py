"""What every family of generative models has: component networks, and losses that train them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from workers.models.layers.kernels import ORIGINAL, kernel_of
from workers.models.layers.tensors import ModelError


@dataclass(frozen=True, slots=True)
class Loss:
    """One optimizer update: the phase whose optimizer it is for, the loss, and what of it to log."""

    phase: str
    value: Tensor
    parts: Mapping[str, Tensor]


class Family(ABC):
    """Component networks trained together.

    `phases` names the optimizers and the components that each updates. `bodies` says for every component whether
    it encodes or decodes, which together with the name inside the component is the role of a tensor. `logits` are
    the components whose outputs are logits. `copies` are networks that follow a component and are not trained
    themselves, by that component's name. After `period` steps all is due again as it was. `construct` makes another
    one like it, with weights; None where nobody has said how.
    """

    phases: ClassVar[Mapping[str, tuple[str, ...]]]
    bodies: ClassVar[Mapping[str, str]]
    logits: ClassVar[tuple[str, ...]] = ()
    copies: Mapping[str, str] = MappingProxyType({})
    period: int = 1
    construct: Callable[[], Family] | None = None

    def __init__(self, networks: Mapping[str, nn.Module], latent: int, precision: str) -> None:
        components = {*self.bodies, *self.copies}
        assert set(networks) == components, f"{set(networks)} are not the components {components}"
        self.networks = nn.ModuleDict(networks)
        self.latent = latent
        self.precision = precision

    @abstractmethod
    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        """The losses of one step on `images` (N, C, H, W) in [-1, 1], in the order of their updates.

        It is resumed after each update, so that a later loss sees the weights that an earlier one changed.
        """

    def due(self, step: int) -> int:
        """How many of the losses are updates in a step, by its number since epoch 0."""
        return len(self.phases)

    def updated(self, phase: str) -> None:  # noqa: B027 - there is nothing else in most families
        """What else an update of a phase changes; masked weights are zero before, and have to be afterwards."""

    def joint_loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """The sum of all losses, of which each component may have a gradient."""
        return torch.stack([loss.value for loss in self.losses(images, noise)]).sum()

    def run(self, component: str, inputs: Tensor, precision: str | None = None) -> Tensor:
        """The output of one component in fp32, computed in bf16 under autocast if that is the precision, or its own."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=(precision or self.precision) == "bf16"):
            outputs: Tensor = self.networks[component](inputs)
        return outputs.float()

    def latents(self, count: int, noise: torch.Generator) -> Tensor:
        """Codes (count, latent) drawn from the N(0, 1) prior."""
        return torch.randn(count, self.latent, generator=noise, device=noise.device)

    def role(self, name: str) -> str:
        """The role of the tensor `name`, the same in every model whose backbone has that stage."""
        component, inner = name.split(".", 1)
        return f"{self.bodies[self.copies.get(component, component)]}.{inner.replace(ORIGINAL, 'weight')}"

    def layers(self) -> dict[str, list[nn.Module]]:
        """The layers of each prunable kernel, several if they share it, by the name of the tensor that is trained."""
        names = {parameter: name for name, parameter in self.networks.named_parameters()}
        found: dict[str, list[nn.Module]] = {}
        for layer in nn.ModuleList(self.networks[component] for component in self.bodies).modules():
            kernel = kernel_of(layer)
            if kernel is not None and kernel.requires_grad:
                found.setdefault(names[kernel], []).append(layer)
        return found

    def kernels(self) -> dict[str, nn.Module]:
        """The first layer of each prunable kernel, by the name of the tensor that is trained."""
        return {name: layers[0] for name, layers in self.layers().items()}

    def prunable(self) -> dict[str, Tensor]:
        """The kernels of convolutions, transposed convolutions and linear layers, by name, in parameter order.

        A kernel that several layers share is one; one that is not trained, or computed otherwise than by spectral norm,
        is none.
        """
        parameters = dict(self.networks.named_parameters())
        return {name: parameters[name] for name in self.kernels()}

    def not_prunable(self) -> list[str]:
        """The parameters of two or more dimensions that no mask can be for, by name."""
        prunable = self.prunable()
        return [
            name
            for name, parameter in self.networks.named_parameters()
            if parameter.dim() > 1 and name not in prunable and name.split(".")[0] in self.bodies
        ]

    def shared(self) -> dict[str, str]:
        """Further names of parameters that several layers share, and the first name of each."""
        first = {parameter: name for name, parameter in self.networks.named_parameters()}
        named = self.networks.named_parameters(remove_duplicate=False)
        return {name: first[parameter] for name, parameter in named if first[parameter] != name}

    def masked(self, mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors that a mask is for, by every name: its own, and those of networks that follow a component."""
        follow = {
            f"{copy}.{name.removeprefix(f'{component}.')}": kept
            for copy, component in self.copies.items()
            for name, kept in mask.items()
            if name.startswith(f"{component}.")
        }
        masked = {**mask, **follow}
        return masked | {name: masked[first] for name, first in self.shared().items() if first in masked}

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that are trained."""
        return [p for phase in self.phases for p in self.parameters_of(phase)]

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains, each once; those that are frozen stay as they were drawn."""
        components = nn.ModuleList(self.networks[component] for component in self.phases[phase])
        return [parameter for parameter in components.parameters() if parameter.requires_grad]

    def check(self) -> None:
        """Raise ModelError if a phase trains nothing, or a parameter that another one trains."""
        trained: dict[Tensor, str] = {}
        names = {parameter: name for name, parameter in self.networks.named_parameters()}
        for phase in self.phases:
            if not self.parameters_of(phase):
                raise ModelError(f"{', '.join(self.phases[phase])}: no parameter is left that could be trained")
            for parameter in self.parameters_of(phase):
                if parameter in trained:
                    raise ModelError(
                        f"{names[parameter]} is shared by what {trained[parameter]} and {phase} train, each with an "
                        "optimizer of its own"
                    )
                trained[parameter] = phase
