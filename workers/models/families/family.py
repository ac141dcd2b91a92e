"""The base class of all families of generative models: component networks, and the losses that train them."""

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
    """The loss of one optimizer update: the phase whose optimizer takes the step, the loss, and the parts to log."""

    phase: str
    value: Tensor
    parts: Mapping[str, Tensor]


class Family(ABC):
    """Component networks that are trained together.

    `phases` names the optimizers, and the components that each one updates. `bodies` says for every component whether
    it encodes or decodes. A tensor's role is this word and the tensor's name inside the component. `logits` lists the
    components whose outputs are logits. `copies` maps each network that follows a component to the name of that
    component. Such a network is not trained. `due` repeats every `period` steps. `construct` builds the same model
    again, with weights; it is None if no function is known for that.
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
        """Yield the losses of one step on `images` (N, C, H, W) in [-1, 1], in the order of their updates.

        The iterator resumes after each update. A later loss therefore sees the weights that an earlier update changed.
        """

    def due(self, step: int) -> int:
        """The number of losses, from the first, that update weights in step `step`. Steps count from epoch 0."""
        return len(self.phases)

    def updated(self, phase: str) -> None:  # noqa: B027 - there is nothing else in most families
        """Make the further changes that follow an update of `phase`.

        Masked weights are zero before this call, and must be zero after it.
        """

    def joint_loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """The sum of all losses, from which every component can have a gradient."""
        return torch.stack([loss.value for loss in self.losses(images, noise)]).sum()

    def run(self, component: str, inputs: Tensor, precision: str | None = None) -> Tensor:
        """The output of one component, in fp32.

        `precision` defaults to that of the family. With `bf16`, autocast computes the output.
        """
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=(precision or self.precision) == "bf16"):
            outputs: Tensor = self.networks[component](inputs)
        return outputs.float()

    def latents(self, count: int, noise: torch.Generator) -> Tensor:
        """Codes (count, latent) drawn from the N(0, 1) prior."""
        return torch.randn(count, self.latent, generator=noise, device=noise.device)

    def role(self, name: str) -> str:
        """The role of the tensor `name`. It is the same in every model whose backbone has this stage."""
        component, inner = name.split(".", 1)
        return f"{self.bodies[self.copies.get(component, component)]}.{inner.replace(ORIGINAL, 'weight')}"

    def layers(self) -> dict[str, list[nn.Module]]:
        """The layers of each prunable kernel, by the name of the trained tensor. Layers can share a kernel."""
        names = {parameter: name for name, parameter in self.networks.named_parameters()}
        found: dict[str, list[nn.Module]] = {}
        for layer in nn.ModuleList(self.networks[component] for component in self.bodies).modules():
            kernel = kernel_of(layer)
            if kernel is not None and kernel.requires_grad:
                found.setdefault(names[kernel], []).append(layer)
        return found

    def kernels(self) -> dict[str, nn.Module]:
        """The first layer of each prunable kernel, by the name of the trained tensor."""
        return {name: layers[0] for name, layers in self.layers().items()}

    def prunable(self) -> dict[str, Tensor]:
        """The kernels of convolutions, transposed convolutions and linear layers, by name, in parameter order.

        A kernel that several layers share appears once. Frozen kernels are left out, and so are kernels under any
        parametrisation other than spectral norm.
        """
        parameters = dict(self.networks.named_parameters())
        return {name: parameters[name] for name in self.kernels()}

    def not_prunable(self) -> list[str]:
        """The names of the parameters with two or more dimensions that no mask can cover."""
        prunable = self.prunable()
        return [
            name
            for name, parameter in self.networks.named_parameters()
            if parameter.dim() > 1 and name not in prunable and name.split(".")[0] in self.bodies
        ]

    def shared(self) -> dict[str, str]:
        """The first name of each shared parameter, by its further names."""
        first = {parameter: name for name, parameter in self.networks.named_parameters()}
        named = self.networks.named_parameters(remove_duplicate=False)
        return {name: first[parameter] for name, parameter in named if first[parameter] != name}

    def masked(self, mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mask of every tensor that `mask` covers, by name.

        This includes the further names of shared tensors, and the networks that follow a component.
        """
        follow = {
            f"{copy}.{name.removeprefix(f'{component}.')}": kept
            for copy, component in self.copies.items()
            for name, kept in mask.items()
            if name.startswith(f"{component}.")
        }
        masked = {**mask, **follow}
        return masked | {name: masked[first] for name, first in self.shared().items() if first in masked}

    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [p for phase in self.phases for p in self.parameters_of(phase)]

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains, each once, without frozen ones."""
        components = nn.ModuleList(self.networks[component] for component in self.phases[phase])
        return [parameter for parameter in components.parameters() if parameter.requires_grad]

    def check(self) -> None:
        """Check that every phase trains something of its own, and that every tensor has a role of its own.

        Roles seed first weights, and move tickets, so two tensors of one role would be confused.

        Raises:
            ModelError: if a phase trains nothing, or trains a parameter that another phase trains, or if two tensors
                have one role.
        """
        roles: dict[str, str] = {}
        for component in self.bodies:
            for name in self.networks[component].state_dict(prefix=f"{component}."):
                other = roles.setdefault(self.role(name), name)
                if other != name:
                    raise ModelError(f"{name} and {other} have one role, {self.role(name)}: name their layers apart")
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
