"""Stages: a kernel, its normalisation and an activation, with the names that form their roles."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from workers.models.backbones.backbone import Norm


def stage(kernel: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, *rest: nn.Module, norm: Norm = "batch") -> nn.Sequential:
    """A stage of `kernel`, then `rest`. It leaves out the batch norms in `rest` unless `norm` is `batch`."""
    name = "linear" if isinstance(kernel, nn.Linear) else "conv"
    named = OrderedDict[str, nn.Module]({name: spectral_norm(kernel) if norm == "spectral" else kernel})
    for module in rest:
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            named["activation"] = module
        elif norm == "batch":
            named["norm"] = module
    return nn.Sequential(named)
