"""Exported tickets, in a Python that has torch and safetensors and nothing of ours."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from orchestrator import results
from search_spaces.trial import Trial
from tests.toys import TOY_MODELS, toy_trials
from workers import data
from workers.archive.states import Archive, Point
from workers.lab.points import WEIGHTS
from workers.lab.references import Line, State
from workers.masks import Mask
from workers.models import Family, build, initialise, materialise
from workers.models.layers.spectral import spare_empty_kernels
from workers.models.state import capture
from workers.randomness import generator
from workers.store.backends import Store
from workers.tickets.architecture import UndescribedError, architecture
from workers.tickets.export import export_ticket
from workers.trial import run_trial

SCRIPT = str(Path(__file__).parents[3] / "docs" / "load_ticket.py")
IMAGE = (1, 32, 32)
STATE = State(Line("ab" * 32), 0)
GAN = {"width": 2, "latent": 3}
CONV_AUTOENCODER = {"name": "conv_autoencoder", "width": 2}
MODELS: dict[str, dict[str, Any]] = {
    "linear_autoencoder": TOY_MODELS["linear_autoencoder"],
    "conv_autoencoder": CONV_AUTOENCODER,
    "vae": TOY_MODELS["vae"],
    "resnet_vae": {**TOY_MODELS["vae"], "backbone": "resnet"},
    "dcgan": TOY_MODELS["dcgan"],
    "resnet_sngan": {"name": "sngan", **GAN, "backbone": "resnet"},
    "sngan": {"name": "sngan", **GAN},
    "wgan": {"name": "wgan", **GAN},
    "wgan_gp": {"name": "wgan_gp", **GAN},
    "averaged": {**TOY_MODELS["dcgan"], "ema": 0.9},
}

MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
JUDGED = """
import runpy, sys, torch
from safetensors.torch import load_file
script, ticket, images, seed = sys.argv[1:]
networks, _ = runpy.run_path(script)["rebuild"](ticket)
real = load_file(images)["images"].float() / 127.5 - 1
latents = torch.randn(len(real), 3, generator=torch.Generator().manual_seed(int(seed)))
with torch.no_grad():
    judged = [networks["discriminator"](shown).flatten() for shown in (real, networks["generator"](latents))]
print(sum(torch.nn.functional.softplus(logits).double().mean().item() for logits in (-judged[0], judged[1])))
"""
NOTHING_OF_OURS = """
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"workers", "search_spaces", "orchestrator", "pandas", "pydantic"}, loaded
"""


def alone(code: str, *arguments: object) -> float:
    """What a program prints that has only torch and safetensors to work with."""
    command = [sys.executable, "-I", "-c", code + NOTHING_OF_OURS, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


def planned(model: dict[str, Any]) -> Trial:
    (trial,) = toy_trials(models=[model], sparsities=[0.36])
    return trial


def warmed_up(trial: Trial) -> Family:
    """A model whose buffers are not those that it began with."""
    family = build(trial.model, IMAGE)
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    noise = generator(0, "warm up")
    for _ in range(3):
        list(family.losses(torch.rand(8, *IMAGE, generator=noise), noise))
    family.networks.eval()
    return family


def halved(family: Family) -> Mask:
    noise = generator(0, "mask")
    return Mask({name: torch.rand(kernel.shape, generator=noise) < 0.5 for name, kernel in family.prunable().items()})


def inputs(family: Family, network: str) -> Tensor:
    if network in ("encoder", "discriminator"):
        return torch.rand(4, *IMAGE, generator=generator(0, "images"))
    return family.latents(4, generator(0, "latents"))


@pytest.mark.parametrize("metrics", [None, {"elbo": 1.0}], ids=["start", "trained"])
@pytest.mark.parametrize("model", MODELS)
def test_rebuilt_networks_compute_what_the_masked_model_does(
    model: str, metrics: dict[str, float] | None, store: Store, tmp_path: Path
) -> None:
    trial, path = planned(MODELS[model]), tmp_path / "ticket.safetensors"
    family = warmed_up(trial)
    mask = halved(family)
    Archive(store).commit_point(STATE, WEIGHTS, Point(capture(family, {}), None))
    export_ticket(store, trial, STATE.key, mask, path, metrics)
    networks, _ = runpy.run_path(SCRIPT)["rebuild"](path)
    assert set(networks) == set(family.networks)
    for name, kept in family.masked(mask).items():
        family.networks.get_parameter(name).data.mul_(kept)
    with torch.no_grad():
        for name, network in family.networks.items():
            shown = inputs(family, name)
            torch.testing.assert_close(networks[name](shown), network(shown))


def test_a_rebuilt_layer_whose_kernel_is_empty_gives_its_bias(store: Store, tmp_path: Path) -> None:
    trial, path = planned(MODELS["sngan"]), tmp_path / "ticket.safetensors"
    family = warmed_up(trial)
    emptied = "discriminator.down2.conv.parametrizations.weight.original"
    mask = Mask({name: kept & (name != emptied) for name, kept in halved(family).items()})
    for name, kept in family.masked(mask).items():
        family.networks.get_parameter(name).data.mul_(kept)
    list(family.losses(torch.rand(8, *IMAGE), generator(0, "step")))  # with which the empty kernel's vectors vanish
    Archive(store).commit_point(STATE, WEIGHTS, Point(capture(family, {}), None))
    export_ticket(store, trial, STATE.key, mask, path, {"kl": 0.5})
    networks, _ = runpy.run_path(SCRIPT)["rebuild"](path)
    shown = inputs(family, "discriminator")
    with torch.no_grad():
        judged = family.networks["discriminator"].eval()(shown)
        assert judged.isfinite().all()
        torch.testing.assert_close(networks["discriminator"](shown), judged)


def finished(model: dict[str, Any], store: Store, path: Path) -> Any:
    """The row of a trial that was run, its trained ticket in `path`, and the images that it was measured on beside."""
    trial = planned(model)
    run_trial(trial, store)
    row = results.trials(store.uri).iloc[0]
    export_ticket(store, trial, row["final_key"], results.mask(store.uri, trial.id), path, {"kl": 0.5})
    images = torch.from_numpy(data.load(trial.dataset).held_out[: trial.evaluation.samples].copy())
    save_file({"images": images}, path.with_name("images.safetensors"))
    return row


@pytest.mark.parametrize("model", ["linear_autoencoder", "conv_autoencoder", "vae"])
def test_the_stored_error_is_reproduced_without_anything_of_ours(model: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ticket.safetensors"
    row = finished(MODELS[model], store, path)
    error = alone(MEASURED, SCRIPT, path, path.with_name("images.safetensors"))
    assert error == pytest.approx(row["reconstruction_mse"], rel=1e-6)


def test_the_stored_loss_of_a_discriminator_is_reproduced_without_anything_of_ours(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "ticket.safetensors"
    row = finished(MODELS["dcgan"], store, path)
    seed = generator(0, "evaluation").initial_seed()
    loss = alone(JUDGED, SCRIPT, path, path.with_name("images.safetensors"), seed)
    assert loss == pytest.approx(row["discriminator_loss"], rel=1e-6)


def test_a_trained_ticket_is_masked_and_says_what_was_measured_and_when(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ticket.safetensors"
    finished(MODELS["averaged"], store, path)
    tensors, metadata = load_file(path), metadata_of(path)
    assert json.loads(metadata["metrics"]) == {"kl": 0.5}
    assert metadata["epoch"] == "4"
    assert json.loads(metadata["image"]) == [1, 32, 32]
    masks = {name.removeprefix("mask/"): kept for name, kept in tensors.items() if name.startswith("mask/")}
    followed = {name.replace("generator", "average"): kept for name, kept in masks.items() if "generator" in name}
    for name, kept in (masks | followed).items():
        assert not tensors[name][~kept].any()
        assert tensors[name][kept].any()


class Swish(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * inputs.sigmoid()


def changed(layer: nn.Module) -> nn.Module:
    """A layer of torch that computes something else than its arguments say."""
    layer.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    return layer


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Swish(), "encoder.0 is a Swish, which is no layer of torch.nn"),
        (weight_norm(nn.Linear(4, 4)), "encoder.0 has a parametrisation that is not spectral norm"),
        (nn.ModuleList([nn.ReLU()]), "encoder cannot be rebuilt"),
        (nn.LSTM(4, 4), "encoder cannot be rebuilt"),
        (changed(nn.ReLU()), "encoder computes something else"),
    ],
)
def test_networks_that_cannot_be_rebuilt_have_no_architecture(layer: nn.Module, why: str) -> None:
    with pytest.raises(UndescribedError, match=re.escape(why)):
        architecture(nn.ModuleDict({"encoder": nn.Sequential(layer)}), {"encoder": torch.randn(2, 4)})


TWICE = nn.ELU(0.5)
IMAGES, VECTORS = torch.randn(2, 4, 8, 8), torch.randn(2, 4)
LAYERS: list[tuple[nn.Module, Tensor]] = [
    *((layer, VECTORS) for layer in (nn.LeakyReLU(0.2), nn.Sigmoid(), nn.GELU("tanh"), nn.SiLU(), nn.ELU(0.3))),
    *((layer, VECTORS) for layer in (nn.SELU(), nn.Softplus(2.0), nn.Hardtanh(-0.1, 0.2), nn.Softmax(1), nn.Mish())),
    *((layer, VECTORS) for layer in (nn.Linear(4, 3, bias=False), nn.LayerNorm(4, bias=False), nn.Dropout(0.9))),
    *((layer, VECTORS) for layer in (nn.PReLU(4, 0.1), nn.LayerNorm([4], 0.1), nn.RMSNorm(4), nn.BatchNorm1d(4, 0.1))),
    *((layer, IMAGES) for layer in (nn.GroupNorm(2, 4, 0.1), nn.InstanceNorm2d(4, affine=True), nn.PixelShuffle(2))),
    *((layer, IMAGES) for layer in (nn.AvgPool2d(2, 1), nn.ReflectionPad2d((1, 2, 0, 1)), nn.ZeroPad2d(1))),
    *((layer, IMAGES) for layer in (nn.AdaptiveAvgPool2d((None, 3)), nn.LocalResponseNorm(2), nn.Dropout2d(0.5))),
    *((layer, IMAGES) for layer in (nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect", groups=2),)),
    *((layer, IMAGES) for layer in (nn.ConvTranspose2d(4, 2, (3, 2), 2, 1, output_padding=1, dilation=2, bias=False),)),
    *((layer, IMAGES) for layer in (nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),)),
    (nn.Conv1d(4, 2, 3, 2), torch.randn(2, 4, 8)),
    (nn.Conv3d(4, 2, 3), torch.randn(2, 4, 8, 8, 8)),
    (spectral_norm(nn.Linear(4, 4)), VECTORS),
    (nn.Sequential(TWICE, nn.Linear(4, 4), TWICE), VECTORS),
]


@pytest.mark.parametrize(("layer", "shown"), LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS])
def test_plain_layers_are_rebuilt_from_their_arguments(layer: nn.Module, shown: Tensor) -> None:
    network = nn.Sequential(layer)
    spare_empty_kernels(network)
    node = architecture(nn.ModuleDict({"encoder": network}), {"encoder": shown})["encoder"]
    rebuilt = runpy.run_path(SCRIPT)["build"](json.loads(json.dumps(node)))
    rebuilt.load_state_dict(network.state_dict())
    assert torch.allclose(rebuilt.eval()(shown), network.eval()(shown))


def test_a_file_without_an_architecture_says_so(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "ticket.safetensors", metadata={"model": "{}"})
    with pytest.raises(ValueError, match=r"ticket\.safetensors describes no architecture"):
        runpy.run_path(SCRIPT)["rebuild"](tmp_path / "ticket.safetensors")
