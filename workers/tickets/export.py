"""Writing tickets to files that plain PyTorch can use."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from search_spaces.base.canonical import canonical_json
from search_spaces.errors import TombolaError
from search_spaces.models import ModelSpec
from search_spaces.trial import Trial
from workers import __version__, data
from workers.archive.imported import FORMAT, MASK
from workers.archive.states import Archive
from workers.lab.recorder import Recorder
from workers.lab.references import Line, State
from workers.masks import Mask
from workers.models import Family, Image, build, materialise
from workers.models.state import restore, weights_only
from workers.program import run_program
from workers.randomness import generator
from workers.store.backends import Store
from workers.tickets.architecture import Node, UndescribedError, architecture
from workers.trial import run_trial

_log = logging.getLogger("tombola")


class ExportError(TombolaError):
    """A ticket cannot be written."""


def export_ticket(
    store: Store, trial: Trial, state_key: str, mask: Mask, path: Path, metrics: Mapping[str, float] | None = None
) -> None:
    """Write a ticket to `path`: weights and buffers under their own names, masks as bool tensors `mask/<name>`.

    The weights are those of the state `state_key`, written line@epoch. For a start state, leave out `metrics`: the
    weights are not masked. For the state of the trained ticket, give its `metrics`: the weights are masked. A network
    that follows another has no mask of its own. It is masked in both cases, as training does before its first step.

    The metadata hold, as JSON or text:

    - the trial's spec, the epoch of these weights, and the version of tombola;
    - the model of these weights, which for a small dense network is narrower than the trial's, and the shape of its
      images;
    - the model's architecture, if it can be described, and the role of every tensor;
    - the optimizer that the ticket's training begins with;
    - the metrics, for a trained ticket.

    Raises:
        ExportError: if the state is gone and cannot be made again, or if the file cannot be written.
    """
    line, _, epoch = state_key.partition("@")
    weights = _weights(store, trial, State(Line(line), int(epoch)))
    image = data.card(trial.dataset).image
    model, family = _built_for(weights, trial.model, image)
    hidden = {name: kept for name, kept in family.masked(mask).items() if metrics is not None or name not in mask}
    tensors = {name: tensor * hidden[name] if name in hidden else tensor for name, tensor in weights.items()}
    masks = {f"{MASK}{name}": kept for name, kept in mask.items()}
    metadata = {
        "format": FORMAT,
        "tombola": __version__,
        "trial": trial.spec_json,
        "model": canonical_json(model.model_dump()),
        "family": model.family,
        "image": canonical_json(image),
        "roles": canonical_json({name: family.role(name) for name in weights}),
        "epoch": epoch,
        "optimizer": _optimizer(trial),
    }
    try:
        metadata["architecture"] = json.dumps(_architecture(family, tensors, image))  # canonical_json would drop None
    except UndescribedError as error:
        _log.warning("%s describes no architecture, so that only tombola can rebuild it: %s", path, error)
    if metrics is not None:
        metadata["metrics"] = canonical_json(dict(metrics))
    try:
        path.write_bytes(save({**tensors, **masks}, metadata=metadata))
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error


def _architecture(family: Family, tensors: Mapping[str, Tensor], image: Image) -> dict[str, Node]:
    """Describe the networks of a model; the check uses these weights, and random images and codes."""
    materialise(family, torch.device("cpu"))
    restore(tensors, family, {})
    noise = generator(0, "architecture")
    shown = {"encode": torch.rand(2, *image, generator=noise), "decode": family.latents(2, noise)}
    bodies = {name: family.bodies[family.copies.get(name, name)] for name in family.networks}
    return architecture(family.networks, {name: shown[body] for name, body in bodies.items()})


def _optimizer(trial: Trial) -> str:
    """The optimizer that training of a trial's ticket begins with.

    It is `fresh`, `rewound` to the moments of an earlier epoch, or `kept` if training simply continues.
    """
    outcome = run_program(Recorder(trial, data.card(trial.dataset), data.card_or_nominal), trial)
    if outcome.moments is None:
        return "fresh"
    return "kept" if outcome.moments == outcome.ticket.found else "rewound"


def _weights(store: Store, trial: Trial, state: State) -> dict[str, Tensor]:
    """The weights and buffers of a state of a trial. If the state is gone, it is made again."""
    archive = Archive(store)
    point = archive.point(state, moments=False)
    if point is None:
        run_trial(trial, store)  # makes lost states and masks again; the trial's rows stay
        point = archive.point(state, moments=False)
    if point is None:
        raise ExportError(f"state {state.key} of trial {trial.id} is gone from the store and could not be made again")
    return weights_only(point.tensors)


def _built_for(tensors: Mapping[str, Tensor], spec: ModelSpec, image: Image) -> tuple[ModelSpec, Family]:
    """The model with the width that fits these weights: its spec and its family."""
    for width in range(spec.width, 0, -1):
        narrow = spec.model_copy(update={"width": width})
        family = build(narrow, image)
        if all(tensors[name].shape == weight.shape for name, weight in family.networks.state_dict().items()):
            return narrow, family
    raise AssertionError("weights of a trial are of its model, at some width")
