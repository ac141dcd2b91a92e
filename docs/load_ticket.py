"""Use a ticket in plain PyTorch: `python load_ticket.py TICKET IMAGES` prints its model's reconstruction error.

TICKET is a file from `tombola export --trained`. IMAGES is a safetensors file with `images` (N, C, H, W) as uint8.
"""

import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations


class Residual(nn.Module):
    """The sum of the outputs of its children `body` and `shortcut`, which get the same input."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body(inputs) + self.shortcut(inputs)


def build(node: dict) -> nn.Module:
    """The module that a node of the architecture describes, with new weights."""
    module = Residual() if node["kind"] == "Residual" else getattr(nn, node["kind"])(**node.get("arguments", {}))
    for name, child in node.get("children", []):
        module.add_module(name, build(child))
    return spectral_norm(module) if node.get("spectral_norm") else module


def rebuild(path: str) -> tuple[nn.ModuleDict, dict[str, str]]:
    """The networks of a ticket, masked and in evaluation mode, and the metadata of its file."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if "architecture" not in metadata:
        raise ValueError(f"{path} describes no architecture: its networks have modules that are none of torch's")
    weights = {name: w * tensors.get(f"mask/{name}", 1) for name, w in tensors.items() if not name.startswith("mask/")}
    networks = nn.ModuleDict({name: build(node) for name, node in json.loads(metadata["architecture"]).items()})
    networks.load_state_dict(weights)
    for module in networks.modules():
        if is_parametrized(module) and not module.parametrizations.weight.original.any():
            remove_parametrizations(module, "weight", leave_parametrized=False)  # else zeros are divided by norm 0
    return networks.eval(), metadata


def reconstruction_mse(networks: nn.ModuleDict, metadata: dict[str, str], images: Tensor) -> float:
    """Mean squared error of a pixel in [-1, 1]. A VAE's encoder gives mean and log variance; the mean is decoded."""
    model, total = json.loads(metadata["trial"])["model"]["name"], 0.0
    family = metadata.get("family", model)  # which files of earlier versions do not have
    for batch in (images.float() / 127.5 - 1).split(500):
        with torch.no_grad():
            code = networks["encoder"](batch)
            mean = code.chunk(2, dim=1)[0] if family == "vae" else code
            error = networks["decoder"](mean).float() - batch
        total += error.square().flatten(1).mean(1).double().sum().item()
    return total / len(images)


if __name__ == "__main__":
    ticket, images = sys.argv[1:]
    print(reconstruction_mse(*rebuild(ticket), load_file(images)["images"]))
