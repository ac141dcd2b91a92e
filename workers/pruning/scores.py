"""Scorers: pure functions that give every weight a score. The highest scores are kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from search_spaces.errors import TombolaError
from workers.models.layers.kernels import KERNEL_LAYERS, kernel_of

Loss = Callable[[], Tensor | Iterable[Tensor]]
"""A function that returns a loss, or yields parts that sum to the loss. Parts can be chunks of a batch, each weighted
by its size, so the whole batch need not be in memory. The function must leave buffers and generators as they were."""


_TINY = 1e-9
"""Rounding errors of scores that are zero."""


class ScoreError(TombolaError):
    """A scorer cannot rank the weights of a network."""


_ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__)


def magnitude(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The absolute value of every weight (Han et al. 2015)."""
    return {name: p.detach().abs() for name, p in parameters.items()}


def random(parameters: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform random scores, so that every weight is kept with the same probability."""
    return {name: torch.rand(p.shape, generator=generator, device=generator.device) for name, p in parameters.items()}


def snip(loss: Loss, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w dL/dw|, the sensitivity of the loss to each weight (Lee et al. 2019, eq. 5).

    The normalisation of the equation is left out, because it does not change the ranking. A weight scores zero if the
    loss does not depend on it.
    """
    weights = list(parameters.values())
    gradient = _sum_over_parts(loss, weights, lambda part: _gradient(part, weights))
    return {name: (w.detach() * g).abs() for (name, w), g in zip(parameters.items(), gradient, strict=True)}


def grasp(loss: Loss, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The product w * Hg, with gradient g and Hessian H of the loss in `parameters`: -S(-w) of Wang et al. (2020).

    To first order, removing w reduces |g|^2 by 2 w (Hg), so the weights that gradient flow needs score high. `loss` is
    called twice and must give the same parts both times. A weight scores zero if g does not depend on it.
    """
    weights = list(parameters.values())
    total = _sum_over_parts(loss, weights, lambda part: _gradient(part, weights))
    product = _sum_over_parts(loss, weights, lambda part: _hessian_product(part, weights, total))
    return {name: w.detach() * hg for (name, w), hg in zip(parameters.items(), product, strict=True)}


def synflow(network: nn.Module, inputs: Sequence[int]) -> dict[str, Tensor]:
    """|w| dR/d|w| / R for every kernel of `network`, in float64, with R = 1^T prod |W| 1 (Tanaka et al. 2020, eq. 2).

    R is the sum of the outputs of a linear and positive copy of the network, for one input of ones, shape (1, *inputs).
    The copy has the absolute values of kernels and norm weights, and the same running variances. It has no biases,
    means or activations. After the division by R, the scores of every layer of a chain sum to 1. Networks with
    different R can therefore be ranked together. Names are those of the trained tensors. A shared kernel gets the sum
    of the scores of its layers.

    Raises:
        ScoreError: if the network is not linear without its activation modules, for example because of layer norms; or
            if R is zero, infinite, or too small for a normal float64.
    """
    positive = _linear_and_positive(network)
    names = {parameter: name for name, parameter in network.named_parameters()}
    kernels: dict[Tensor, str] = {}
    for place, layer in network.named_modules():
        if (kernel := kernel_of(layer)) is not None:
            weight = positive.get_submodule(place).weight
            assert isinstance(weight, Tensor)
            kernels[weight.requires_grad_()] = names[kernel]
    weights = list(kernels)
    ones = torch.ones(1, *inputs, dtype=torch.float64, device=weights[0].device)
    _check_linear(positive, ones)
    with torch.enable_grad():
        flow = positive(ones).sum()
    if not torch.finfo(torch.float64).tiny <= flow < torch.inf:
        raise ScoreError(f"the flow through it is {flow.item():.3g}, so no weight can be scored by its share of it")
    scores: dict[str, Tensor] = {}
    for weight, gradient in zip(weights, _gradient(flow, weights), strict=True):
        name = kernels[weight]
        scores[name] = scores.get(name, 0) + weight.detach() * gradient / flow.detach()
    if any((score < -_TINY).any() for score in scores.values()):
        raise ScoreError("some of its weights have a negative flow: it has scales or differences that are not kernels")
    return scores


@torch.no_grad()
def _check_linear(network: nn.Module, ones: Tensor) -> None:
    """Refuse a network whose output does not double when its input doubles.

    The test input is a ramp, because a norm over positions turns a constant image into zeros.
    """
    ramp = torch.linspace(1, 2, ones.numel(), dtype=ones.dtype, device=ones.device).reshape(ones.shape)
    once, twice = network(ramp), network(2 * ramp)
    if once.isfinite().all() and (twice - 2 * once).abs().max() > 1e-6 * twice.abs().max():
        raise ScoreError("it is not linear even without its activation modules")


def _sum_over_parts(loss: Loss, weights: list[Tensor], term: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
    """The sum of `term` over the parts of a loss. Only one part is in memory at a time."""
    total = [torch.zeros_like(w) for w in weights]
    with torch.enable_grad():
        found = loss()
        # map, because a loop variable would hold a part and its graph while the next part is made
        for values in map(term, [found] if isinstance(found, Tensor) else found):
            for sum_, value in zip(total, values, strict=True):
                sum_ += value
    return total


def _gradient(value: Tensor, weights: list[Tensor], *, differentiable: bool = False) -> list[Tensor]:
    """The gradient of a scalar, with zeros for weights that the scalar does not depend on."""
    if not value.requires_grad:
        return [torch.zeros_like(w) for w in weights]
    return list(
        torch.autograd.grad(value, weights, create_graph=differentiable, allow_unused=True, materialize_grads=True)
    )


def _hessian_product(part: Tensor, weights: list[Tensor], vector: list[Tensor]) -> list[Tensor]:
    """The Hessian of `part` times a constant vector: the gradient of <gradient, vector> (Pearlmutter 1994)."""
    gradient = _gradient(part, weights, differentiable=True)
    dot = torch.stack([(g * v).sum() for g, v in zip(gradient, vector, strict=True)]).sum()
    return _gradient(dot, weights)


@torch.no_grad()
def _linear_and_positive(network: nn.Module) -> nn.Module:
    """Copy `network` in float64, linear in its input and in every kernel, and without negative values."""
    positive = copy.deepcopy(network).double().eval()
    for module in list(positive.modules()):
        if is_parametrized(module, "weight"):
            _without_parametrization(module)
    for name, module in list(positive.named_modules(remove_duplicate=False)):
        if isinstance(module, _ACTIVATIONS):
            positive.set_submodule(name, nn.Identity())
        elif isinstance(module, (*KERNEL_LAYERS, _BatchNorm)):
            if module.weight is not None:
                module.weight.abs_()
            if module.bias is not None:
                module.bias.zero_()
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                module.running_mean.zero_()
    return positive


def _without_parametrization(layer: nn.Module) -> None:
    """Replace the parametrised weight of a layer by its trained kernel, or by the computed weight if it has no kernel.

    PyTorch's own function also removes the weight from the layer's class, which copies of the layer share.
    """
    kernel = kernel_of(layer)
    weight = layer.weight if kernel is None else kernel
    assert isinstance(weight, Tensor)
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    layer.register_parameter("weight", nn.Parameter(weight.detach()))
