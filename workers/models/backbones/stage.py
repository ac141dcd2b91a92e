"""Stages: a kernel, what normalises it, and an activation, by the names that are their roles."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from workers.models.backbones.backbone import Norm


def stage(kernel: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, *rest: nn.Module, norm: Norm = "batch") -> nn.Sequential:
    """A kernel and what follows it; without the batch norms among that, unless that is the `norm`."""
    name = "linear" if isinstance(kernel, nn.Linear) else "conv"
    named = OrderedDict[str, nn.Module]({name: spectral_norm(kernel) if norm == "spectral" else kernel})
    for module in rest:
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            named["activation"] = module
        elif norm == "batch":
            named["norm"] = module
    return nn.Sequential(named)
