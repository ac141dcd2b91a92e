"""Draw the initial weights of networks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from workers.models.families import Family
from workers.models.layers.constructing import constructing
from workers.models.layers.kernels import ORIGINAL, has_spectral_norm, kernel_of
from workers.models.layers.tensors import ModelError, replace_tensors
from workers.randomness import generator


def initialise(family: Family, seed: int, draw: str) -> None:
    """Give all weights and buffers their initial values, which depend only on `seed`, `draw` and their role.

    Kernels and biases of convolutions and linear layers are uniform in ±1/sqrt(fan-in), which is PyTorch's default.
    Each of these tensors has its own generator, seeded by its role. Models that share a role therefore start it with
    the same values. A network that follows a component is a copy of that component.

    `reset_parameters` initialises all other layers, also with a generator seeded by role. All remaining tensors, and
    frozen ones, keep the values of the constructor. It runs with one generator made from `seed` and `draw`.

    Raises:
        ModelError: if a tensor has no finite initial value, or `reset_parameters` of its layer needs arguments.
    """
    networks = _constructed(family, generator(seed, f"{draw}:constructor").initial_seed())
    drawn = nn.ModuleDict({component: networks[component] for component in family.bodies})
    draw_weights(drawn, lambda name: generator(seed, f"{draw}:{family.role(name)}"))
    for copied, component in family.copies.items():
        networks[copied].load_state_dict(networks[component].state_dict())
    state = networks.state_dict()
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ModelError(
                f"{name} has no finite first value: its layer must give it one, in its constructor or in "
                "reset_parameters; a constant that is infinite is to be a buffer with persistent=False"
            )
    family.networks.load_state_dict(state)


def _constructed(family: Family, seed: int) -> nn.ModuleDict:
    """Newly constructed networks of a family, on the CPU. If the constructor is unknown, they hold NaN."""
    with constructing(seed):
        if family.construct is not None:
            return family.construct().networks
        networks = copy.deepcopy(family.networks)
        replace_tensors(networks, lambda tensor: torch.empty_like(tensor, device="cpu"))
        return networks


def draw_weights(network: nn.Module, noise: Callable[[str], torch.Generator]) -> None:
    """Draw initial weights on the CPU. `noise` returns the generator for the name of a tensor or layer.

    Frozen kernels and biases keep their values. So does any other layer whose parameters are all frozen.
    Inner layers come first, so the `reset_parameters` of an outer layer can overwrite them.
    """
    for name, layer in reversed(list(network.named_modules())):
        if (kernel := kernel_of(layer)) is not None and _is_torchs(type(layer)):
            _draw_kernel(layer, kernel, lambda kind, name=name: noise(f"{name}.{kind}"))  # type: ignore[misc]
        elif not is_parametrized(layer) and not _is_frozen(layer) and (reset := _reset_of(layer)):
            _check_call(reset, name)
            with constructing(noise(f"{name}.reset_parameters").initial_seed()):
                reset()


def _is_torchs(kind: type[nn.Module]) -> bool:
    """Whether a layer class initialises its kernel and bias with the default of PyTorch."""
    return getattr(kind, "reset_parameters", None) in (_ConvNd.reset_parameters, nn.Linear.reset_parameters)


def _is_frozen(layer: nn.Module) -> bool:
    parameters = list(layer.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _check_call(reset: Callable[..., None], name: str) -> None:
    try:
        inspect.signature(reset).bind()
    except TypeError as error:
        raise ModelError(f"{name}: its reset_parameters has to do without arguments: {error}") from error


def _reset_of(layer: nn.Module) -> Callable[[], None] | None:
    """The method that initialises a layer. Attention and transformer layers call it `_reset_parameters`."""
    reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
    return reset if callable(reset) else None


def _draw_kernel(layer: nn.Module, kernel: Tensor, noise: Callable[[str], torch.Generator]) -> None:
    if not kernel.numel():
        return  # nothing to draw, as in torch
    bound = kernel[0].numel() ** -0.5
    normed = has_spectral_norm(layer)
    drawn = {ORIGINAL if normed else "weight": kernel, "bias": layer._parameters.get("bias")}
    with torch.no_grad():
        for kind, tensor in drawn.items():
            if tensor is not None and tensor.requires_grad:
                tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=noise(kind)))
    if normed and kernel.requires_grad:
        _draw_vectors(layer, noise)


_POWER_ITERATIONS = 15
"""The number that PyTorch itself uses to initialise a spectral norm."""


def _draw_vectors(layer: nn.Module, noise: Callable[[str], torch.Generator]) -> None:
    """Draw the initial singular vectors of a layer with spectral norm, then move them close to those of its kernel."""
    with torch.no_grad():
        for kind, vector in layer.named_buffers():
            values = torch.empty(vector.shape).normal_(generator=noise(kind))
            vector.copy_(values / values.norm())
        layer.train()
        for _ in range(_POWER_ITERATIONS):
            _ = layer.weight  # in training mode, each access runs one power iteration
