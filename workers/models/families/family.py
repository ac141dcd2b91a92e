"""What every family of generative models has: component networks, and losses that train them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


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
    the components whose outputs are logits.
    """

    phases: ClassVar[Mapping[str, tuple[str, ...]]]
    bodies: ClassVar[Mapping[str, str]]
    logits: ClassVar[tuple[str, ...]] = ()

    def __init__(self, networks: Mapping[str, nn.Module], latent: int, precision: str) -> None:
        assert set(networks) == set(self.bodies), f"{set(networks)} are not the components {set(self.bodies)}"
        self.networks = nn.ModuleDict(networks)
        self.latent = latent
        self.precision = precision

    @abstractmethod
    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        """The losses of one step on `images` (N, C, H, W) in [-1, 1], in the order of their updates.

        It is resumed after each update, so that a later loss sees the weights that an earlier one changed.
        """

    def joint_loss(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """The sum of all losses, of which each component may have a gradient."""
        return torch.stack([loss.value for loss in self.losses(images, noise)]).sum()

    def run(self, component: str, inputs: Tensor) -> Tensor:
        """The output of one component in fp32, computed under autocast where the precision is bf16."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs: Tensor = self.networks[component](inputs)
        return outputs.float()

    def latents(self, count: int, noise: torch.Generator) -> Tensor:
        """Codes (count, latent) drawn from the N(0, 1) prior."""
        return torch.randn(count, self.latent, generator=noise, device=noise.device)

    def role(self, name: str) -> str:
        """The role of the tensor `name`, the same in every model whose backbone has that stage."""
        component, inner = name.split(".", 1)
        return f"{self.bodies[component]}.{inner}"

    def prunable(self) -> dict[str, Tensor]:
        """The kernels of convolutions, transposed convolutions and linear layers, by name, in parameter order."""
        kernels = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        return {
            f"{name}.weight": module.weight
            for name, module in self.networks.named_modules()
            if isinstance(module, kernels)
        }

    def parameters_of(self, phase: str) -> list[nn.Parameter]:
        return [p for component in self.phases[phase] for p in self.networks[component].parameters()]
