"""Spectral norm, against torch's own, and what becomes of kernels that a mask empties."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from search_spaces.models import SNGAN, LinearAutoencoder
from workers.models import build, builders, initialise, materialise
from workers.models.families import Autoencoder
from workers.models.layers.spectral import SpectralNorm, spare_empty_kernels

LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 5, 5)),
    "linear": (lambda: nn.Linear(3, 4), (2, 3)),
}
every_layer = pytest.mark.parametrize("kind", list(LAYERS))


def normed(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    return spectral_norm(make()), torch.randn(shape)


def seen(layer: nn.Module, inputs: Tensor) -> list[Tensor]:
    """What a layer gives and what it is told, over steps in training and a look in evaluation."""
    found = []
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        outputs = layer(inputs), layer(2 * inputs)  # as a discriminator sees real images and fakes
        optimizer.zero_grad()
        torch.stack([out.square().sum() for out in outputs]).sum().backward()
        optimizer.step()
        found += [*outputs, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]
        found += [buffer.clone() for buffer in layer.buffers()]
    return [*found, layer.eval()(inputs)]


@every_layer
def test_kernels_that_hold_weights_are_normed_as_torch_does_it_bit_for_bit(kind: str) -> None:
    theirs, inputs = normed(kind)
    ours = copy.deepcopy(theirs)
    spare_empty_kernels(ours)
    assert any(type(module) is SpectralNorm for module in ours.modules())
    for mine, other in zip(seen(ours, inputs), seen(theirs, inputs), strict=True):
        assert mine.equal(other)


@every_layer
def test_the_output_of_an_empty_kernel_is_its_bias(kind: str) -> None:
    layer, inputs = normed(kind)
    spare_empty_kernels(layer)
    layer.get_parameter("parametrizations.weight.original").data.zero_()
    bias = layer.get_parameter("bias")
    for mode in (True, True, False):
        outputs = layer.train(mode)(inputs)
        assert outputs.equal(bias.reshape(-1, *[1] * (outputs.dim() - 2)).expand_as(outputs))
        gradients = torch.autograd.grad(outputs.square().sum(), list(layer.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert all(buffer.isfinite().all() for buffer in layer.buffers())


def test_a_norm_that_was_lost_for_a_kernel_that_holds_weights_is_not_passed_over() -> None:
    layer, inputs = normed("linear")
    spare_empty_kernels(layer)
    for vector in layer.buffers():
        vector.zero_()
    assert not layer.eval()(inputs).isfinite().any()


def test_every_model_has_norms_that_spare_empty_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(spec: LinearAutoencoder, image: Any, precision: str) -> Autoencoder:
        networks = {"encoder": spectral_norm(nn.Linear(4, 2)), "decoder": nn.Linear(2, 4)}
        return Autoencoder(networks, 2, precision)

    monkeypatch.setitem(builders, "linear_autoencoder", own)
    for spec in (SNGAN(width=2, latent=3), LinearAutoencoder()):
        networks = build(spec, (1, 32, 32)).networks
        norms = [type(module) for module in networks.modules() if "SpectralNorm" in type(module).__name__]
        assert norms
        assert set(norms) == {SpectralNorm}


def test_first_vectors_are_those_of_the_kernel() -> None:
    family = build(SNGAN(width=2, latent=3), (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    for name, layer in family.kernels().items():
        if name.startswith("discriminator"):
            assert torch.linalg.matrix_norm(layer.eval().weight.flatten(1), 2).item() == pytest.approx(1, rel=0.1)
