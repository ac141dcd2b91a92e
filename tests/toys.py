"""A plugin for the tests: real digits, but few; and a model that fails for as long as a file exists."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from search_spaces.datasets import DatasetSpec, Digits, datasets
from search_spaces.models import ModelSpec, models
from search_spaces.sweep import Sweep
from search_spaces.trial import Trial
from workers.data import DatasetCard, Split, card, load, sources
from workers.models import builders
from workers.models.backbones import MLPBackbone
from workers.models.families import Autoencoder, Loss

VERSION = 1
TRAIN, HELD_OUT = 120, 100


@datasets.register
class ToyDigits(DatasetSpec):
    name: Literal["toy_digits"] = "toy_digits"


class _ToySource:
    def card(self, spec: DatasetSpec) -> DatasetCard:
        whole = card(Digits())
        return DatasetCard(f"toy-{whole.fingerprint}", whole.image, TRAIN, HELD_OUT, whole.classes, whole.labels)

    def load(self, spec: DatasetSpec) -> Split:
        whole = load(Digits())
        assert whole.train_labels is not None
        assert whole.held_out_labels is not None
        labels = (whole.train_labels[:TRAIN], whole.held_out_labels[:HELD_OUT])
        return Split(whole.train[:TRAIN], whole.held_out[:HELD_OUT], *labels)


@models.register
class Faulty(ModelSpec):
    """An autoencoder that cannot be trained while the file `broken` exists, and diverges while it says `nan`."""

    family: ClassVar = "autoencoder"
    name: Literal["faulty"] = "faulty"
    width: int = 4
    broken: str


class _FaultyAutoencoder(Autoencoder):
    broken: str

    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        if not Path(self.broken).exists():
            yield from super().losses(images, noise)
        elif Path(self.broken).read_text() == "nan":
            yield from (replace(loss, value=loss.value * torch.nan) for loss in super().losses(images, noise))
        else:
            raise RuntimeError("out of ink")


def _faulty(spec: Faulty, image: tuple[int, int, int], precision: str) -> Autoencoder:
    backbone = MLPBackbone(image, spec.width)
    networks = {"encoder": backbone.encoder("to_code", 2), "decoder": backbone.decoder("from_code", 2)}
    family = _FaultyAutoencoder(networks, 2, precision)
    family.broken = spec.broken
    return family


@datasets.register
class CountedDigits(DatasetSpec):
    """Toy digits that leave a line in the file `log` each time they are decoded."""

    name: Literal["toy_counted_digits"] = "toy_counted_digits"
    log: str


class _CountedSource(_ToySource):
    def load(self, spec: DatasetSpec) -> Split:
        assert isinstance(spec, CountedDigits)
        with Path(spec.log).open("a") as file:
            file.write("loaded\n")
        return super().load(spec)


@models.register
class Greedy(ModelSpec):
    """An autoencoder that needs more memory than there is."""

    family: ClassVar = "autoencoder"
    name: Literal["greedy"] = "greedy"
    width: int = 4


class _GreedyAutoencoder(Autoencoder):
    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        if self.networks.training and len(images) == 20:
            raise MemoryError("too large for any machine")
        yield from super().losses(images, noise)


def _greedy(spec: Greedy, image: tuple[int, int, int], precision: str) -> Autoencoder:
    backbone = MLPBackbone(image, spec.width)
    networks = {"encoder": backbone.encoder("to_code", 2), "decoder": backbone.decoder("from_code", 2)}
    return _GreedyAutoencoder(networks, 2, precision)


@models.register
class Deadly(ModelSpec):
    """An autoencoder that kills the process that trains it, as a fault in a library's kernel does."""

    family: ClassVar = "autoencoder"
    name: Literal["deadly"] = "deadly"
    width: int = 4


class _DeadlyAutoencoder(Autoencoder):
    def losses(self, images: Tensor, noise: torch.Generator) -> Iterator[Loss]:
        if type(images) is Tensor:  # and not one without contents, on which no kernel runs
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().losses(images, noise)


def _deadly(spec: Deadly, image: tuple[int, int, int], precision: str) -> Autoencoder:
    backbone = MLPBackbone(image, spec.width)
    networks = {"encoder": backbone.encoder("to_code", 2), "decoder": backbone.decoder("from_code", 2)}
    return _DeadlyAutoencoder(networks, 2, precision)


sources["toy_digits"] = _ToySource()
sources["toy_counted_digits"] = _CountedSource()
builders["deadly"] = _deadly
builders["faulty"] = _faulty
builders["greedy"] = _greedy

TOY_MODELS = {
    "linear_autoencoder": {"name": "linear_autoencoder", "width": 8, "latent": 4},
    "vae": {"name": "vae", "width": 2, "latent": 3},
    "dcgan": {"name": "dcgan", "width": 2, "latent": 3},
}
EVERY_MODEL = TOY_MODELS | {
    "conv_autoencoder": {"name": "conv_autoencoder", "width": 2},
    "resnet_vae": {"name": "vae", "width": 2, "latent": 3, "backbone": "resnet"},
    "resnet_dcgan": {"name": "dcgan", "width": 2, "latent": 3, "backbone": "resnet", "ema": 0.9},
    "sngan": {"name": "sngan", "width": 2, "latent": 3, "ema": 0.5},
    "wgan": {"name": "wgan", "width": 2, "latent": 3, "critic_steps": 4},
    "wgan_gp": {"name": "wgan_gp", "width": 2, "latent": 3, "critic_steps": 4},
}
"""Every family on every backbone that it ships with, at toy size; critics' steps do not divide those of an epoch."""


def toy_sweep(**changes: Any) -> dict[str, Any]:
    """A sweep file's contents at toy size: one autoencoder, IMP, three rounds."""
    return {
        "name": "toy",
        "plugins": ["tests.toys"],
        "models": [TOY_MODELS["linear_autoencoder"]],
        "datasets": ["toy_digits"],
        "methods": ["imp"],
        "sparsities": {"rounds": 3},
        "seeds": 1,
        "epochs": 4,
        "rewind": 1,
        "recipe": {"batch": 20},
        **changes,
        "evaluation": {"samples": 50, "grid": 2, "distances": {"features": "none"}, **changes.get("evaluation", {})},
    }


def toy_trials(**changes: Any) -> tuple[Trial, ...]:
    return Sweep.model_validate(toy_sweep(**changes)).trials()


def toy_trial(model: str = "linear_autoencoder", **changes: Any) -> Trial:
    """The one trial of a toy sweep of a single sparsity."""
    sparsities = {"sparsities": [0.488]} if "sparsities" not in changes else {}
    (trial,) = toy_trials(models=[EVERY_MODEL[model]], **sparsities, **changes)
    return trial
