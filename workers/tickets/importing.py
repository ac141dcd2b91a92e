"""Importing: checking ticket files and putting them into a store, from which they are transferred to other models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from search_spaces.base.plugins import import_plugins
from search_spaces.errors import TombolaError, first_line, sentence
from search_spaces.transfer import Imported
from workers.archive.imported import FORMAT, MASK, TicketError, imported_mask, imported_state
from workers.archive.states import Archive, Point
from workers.lab.points import FULL
from workers.masks import Mask
from workers.models import Family, build
from workers.store import names
from workers.store.backends import Store


def import_ticket(store: Store, path: Path) -> str:
    """Store the ticket in a file as a source of transfers; return its id. A ticket that is already stored stays.

    Raises:
        TicketError: if the file cannot be read, is no complete ticket, or is for a model that is unknown here.
    """
    try:
        content = path.read_bytes()
        ticket = _parsed(content)
        source, family, plugins = _model(hashlib.sha256(content).hexdigest(), ticket.metadata)
        _check(ticket, source, family)
    except OSError as error:
        raise TicketError(f"{path}: cannot be read: {error.strerror}") from error
    except TicketError as error:
        raise TicketError(f"{path}: {error}") from error
    name, archive = source.sha256[:16], Archive(store)
    archive.commit_mask(imported_mask(source.sha256), Mask(ticket.masks))
    archive.commit_point(imported_state(source.sha256), FULL, Point(ticket.weights, None))
    # The fact comes last, so that a store with the fact also has the mask and the state.
    fact = {**source.model_dump(), "trial": ticket.metadata.get("trial"), "plugins": plugins}
    archive.objects.commit_fact(names.ticket(name), fact)
    return name


@dataclass(frozen=True, slots=True)
class _Ticket:
    """The content of a ticket file: weights and buffers, and masks, both by the names of the model's tensors."""

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]
    metadata: Mapping[str, str]


def _parsed(content: bytes) -> _Ticket:
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a number type that torch does not have
        raise TicketError(f"is not a safetensors file, or is damaged: {error}") from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__") or {}
    if metadata.get("format") != FORMAT:
        raise TicketError(f"is not a ticket: the format in its metadata is not {FORMAT!r}")
    masks = {name.removeprefix(MASK): tensor for name, tensor in tensors.items() if name.startswith(MASK)}
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(MASK)}
    return _Ticket(weights, masks, metadata)


def _model(sha256: str, metadata: Mapping[str, str]) -> tuple[Imported, Family, tuple[str, ...]]:
    """The model and image shape that a ticket is for, the built model, and the plugins that building it needs.

    The plugins of the ticket's trial are imported only if the model cannot be built without them.

    Raises:
        TicketError: if the model cannot be built.
    """
    trial = _entry(metadata, "trial") if "trial" in metadata else None
    plugins = trial.get("plugins") if isinstance(trial, dict) else None
    try:
        return *_built(sha256, metadata), ()
    except TicketError:
        if not plugins:
            raise
    try:
        import_plugins(plugins)
    except ValueError as error:
        raise TicketError(f"is not understood here: {error}") from error
    return *_built(sha256, metadata), tuple(plugins)


def _built(sha256: str, metadata: Mapping[str, str]) -> tuple[Imported, Family]:
    model, image = _entry(metadata, "model"), _entry(metadata, "image")
    try:
        source = Imported.model_validate({"sha256": sha256, "model": model, "image": image})
        return source, build(source.model, source.image)
    except ValidationError as error:
        raise TicketError(f"is not understood here: {sentence(error)}") from error
    except (TombolaError, RuntimeError, TypeError) as error:  # torch raises the latter two for impossible sizes
        raise TicketError(f"is of a model that cannot be built: {first_line(error)}") from error


def _entry(metadata: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(metadata[name])
    except KeyError as error:
        raise TicketError(f"is not a whole ticket: its metadata have no {name!r}") from error
    except (ValueError, RecursionError) as error:
        raise TicketError(f"is damaged: {name!r} in its metadata is no JSON") from error


def _check(ticket: _Ticket, source: Imported, family: Family) -> None:
    """Raise TicketError if tensors or roles do not fit the model, or masks do not fit its kernels."""
    title = f"a {source.model.title} of width {source.model.width}"
    expected = family.networks.state_dict()
    _check_names(ticket.weights, expected, title)
    _check_tensors(ticket.weights, expected, title)
    _check_masks(ticket.masks, family.prunable(), title)
    _check_roles(_entry(ticket.metadata, "roles"), family, title)


def _check_names(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], title: str) -> None:
    if missing := expected.keys() - weights.keys():
        raise TicketError(f"tensor {min(missing)!r} of {title} is missing")
    if extra := weights.keys() - expected.keys():
        raise TicketError(f"{title} has no tensor {min(extra)!r}")


def _check_tensors(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], title: str) -> None:
    for name, tensor in weights.items():
        if _form(tensor) != _form(expected[name]):
            raise TicketError(f"tensor {name!r} is {_form(tensor)}, and in {title} {_form(expected[name])}")
        if not tensor.isfinite().all():
            raise TicketError(f"tensor {name!r} holds numbers that are not finite")


def _check_masks(masks: Mapping[str, Tensor], kernels: Mapping[str, Tensor], title: str) -> None:
    if not masks:
        raise TicketError("holds no mask")
    for name, kept in masks.items():
        if name not in kernels:
            raise TicketError(f"the mask of {name!r} is of no prunable kernel of {title}")
        if kept.dtype != torch.bool or (kept.view(torch.uint8) > 1).any():
            raise TicketError(f"the mask of {name!r} is not of bools")
        if kept.shape != kernels[name].shape:
            raise TicketError(f"the mask of {name!r} is {_form(kept)}, and that kernel {_form(kernels[name])}")


def _check_roles(roles: Any, family: Family, title: str) -> None:
    for name in family.networks.state_dict():
        role = roles.get(name) if isinstance(roles, dict) else None
        if role != family.role(name):
            raise TicketError(f"the role of {name!r} is {role!r}, and in {title} {family.role(name)!r}")


def _form(tensor: Tensor) -> str:
    """The type and shape of a tensor, as text for a message."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
