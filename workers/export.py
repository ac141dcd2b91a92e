"""Tickets as files that plain PyTorch can use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from search_spaces.canonical import canonical_json
from search_spaces.errors import TombolaError
from search_spaces.models import ModelSpec
from search_spaces.trial import Trial
from workers import __version__, data
from workers.archive import Archive
from workers.models import Family, Image, build
from workers.pruning import Mask
from workers.snapshot import weights_only
from workers.stages import Line, State
from workers.store import Store
from workers.trial import run_trial


class ExportError(TombolaError):
    """A ticket that cannot be written."""


MASK = "mask/"
"""Prefix of a mask's tensors in a ticket file; all other tensors are the start weights and buffers."""


def export_ticket(store: Store, trial: Trial, start_key: str, mask: Mask, path: Path) -> None:
    """Write a ticket: start weights and buffers under their own names, masks as bool tensors under `mask/<name>`.

    The metadata hold the trial's spec, the model of these weights, which is narrower than the trial's for a small dense
    network, the role of every tensor as JSON, and the version of tombola.

    Raises:
        ExportError: if the start state is gone and cannot be made again, or the file cannot be written.
    """
    line, _, epoch = start_key.partition("@")
    archive, start_state = Archive(store), State(Line(line), int(epoch))
    point = archive.point(start_state, moments=False)
    if point is None:
        run_trial(trial, store)  # its rows stay; what it is made of and has been lost is made again
        point = archive.point(start_state, moments=False)
    if point is None:
        raise ExportError(f"the start state of trial {trial.id} is gone from the store and could not be made again")
    start = weights_only(point.tensors)
    model, family = _built_for(start, trial.model, data.card(trial.dataset).image)
    roles = {name: family.role(name) for name in start}
    masks = {f"{MASK}{name}": kept for name, kept in mask.items()}
    metadata = {
        "format": "tombola ticket 1",
        "tombola": __version__,
        "trial": trial.spec_json,
        "model": canonical_json(model.model_dump()),
        "roles": canonical_json(roles),
    }
    try:
        path.write_bytes(save({**start, **masks}, metadata=metadata))
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error


def _built_for(tensors: Mapping[str, Tensor], spec: ModelSpec, image: Image) -> tuple[ModelSpec, Family]:
    """The model of the width that these weights are of."""
    for width in range(spec.width, 0, -1):
        narrow = spec.model_copy(update={"width": width})
        family = build(narrow, image)
        if all(tensors[name].shape == weight.shape for name, weight in family.networks.state_dict().items()):
            return narrow, family
    raise AssertionError("weights of a trial are of its model, at some width")
