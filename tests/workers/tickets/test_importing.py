"""Tickets from files: brought into a store whole, or refused in one sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from search_spaces.models import models
from search_spaces.trial import Trial
from tests.toys import TOY_MODELS, toy_trial, toy_trials
from workers.archive.imported import TicketError, imported, imported_mask, imported_state
from workers.archive.states import Archive, Point
from workers.lab.points import FULL
from workers.lab.references import Line, State
from workers.masks import Mask
from workers.models import build, initialise, materialise
from workers.models.state import capture
from workers.store import names
from workers.store.backends import Store
from workers.store.objects import Objects
from workers.tickets.export import export_ticket
from workers.tickets.importing import import_ticket

Tensors = dict[str, Tensor]
KERNEL, BIAS = "encoder.down1.linear.weight", "encoder.down1.linear.bias"


def exported(trial: Trial, store: Store, path: Path) -> Path:
    """A ticket of a trial that was not run, with a mask of positive weights."""
    state = State(Line("ab" * 32), 0)
    family = build(trial.model, (1, 32, 32))
    materialise(family, torch.device("cpu"))
    initialise(family, 0, "initial")
    Archive(store).commit_point(state, FULL, Point(capture(family, {}), None))
    mask = Mask({name: kernel > 0 for name, kernel in family.prunable().items()})
    export_ticket(store, trial, state.key, mask, path)
    return path


@pytest.fixture
def ticket(store: Store, tmp_path: Path) -> Path:
    return exported(toy_trial(), store, tmp_path / "ticket.safetensors")


def altered(path: Path, change: Callable[[Tensors], Any] = lambda tensors: None, **entries: str | None) -> Path:
    """Write a ticket again, with other tensors and entries of its metadata; an entry that is None is left out."""
    with safe_open(path, "pt") as file:
        metadata = {**file.metadata(), **entries}
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={name: entry for name, entry in metadata.items() if entry is not None})
    return path


def test_an_imported_ticket_is_in_the_store_as_it_is_in_the_file(ticket: Path, store: Store) -> None:
    name = import_ticket(store, ticket)
    sha256 = hashlib.sha256(ticket.read_bytes()).hexdigest()
    assert name == sha256[:16]
    tensors, archive = load_file(ticket), Archive(store)
    mask, point = archive.mask(imported_mask(sha256)), archive.point(imported_state(sha256), moments=True)
    assert mask is not None
    assert point is not None
    stored = {**point.tensors, **{f"mask/{kernel}": kept for kernel, kept in mask.items()}}
    assert stored.keys() == tensors.keys()
    assert all(stored[n].equal(tensors[n]) for n in tensors)
    source = imported(store, name)
    assert (source.sha256, source.image) == (sha256, (1, 32, 32))
    assert source.model == models.parse(TOY_MODELS["linear_autoencoder"])
    fact = Objects(store).read_fact(names.ticket(name), dict[str, Any])
    assert fact is not None
    assert json.loads(fact["trial"])["sparsity"] == toy_trial().sparsity


@pytest.mark.parametrize("options", [{"name": "sngan"}, {"name": "dcgan", "ema": 0.9}, {"name": "conv_autoencoder"}])
def test_a_ticket_of_any_model_can_be_imported(options: dict[str, Any], store: Store, tmp_path: Path) -> None:
    (trial,) = toy_trials(models=[{**options, "width": 2}], sparsities=[0.36])
    name = import_ticket(store, exported(trial, store, tmp_path / "ticket.safetensors"))
    assert imported(store, name).model == trial.model


def test_importing_again_changes_nothing(ticket: Path, store: Store) -> None:
    first = import_ticket(store, ticket)
    before = set(store.list(names.OBJECTS))
    assert import_ticket(store, ticket) == first
    assert set(store.list(names.OBJECTS)) == before


def test_a_ticket_without_a_trial_is_welcome(ticket: Path, store: Store) -> None:
    assert imported(store, import_ticket(store, altered(ticket, trial=None))).image == (1, 32, 32)


REFUSED: dict[str, tuple[Callable[[Tensors], Any], dict[str, str | None], str]] = {
    "missing": (lambda t: t.pop(BIAS), {}, f"tensor '{BIAS}' of a linear_autoencoder of width 8 is missing"),
    "extra": (lambda t: t.update(more=torch.ones(1)), {}, "width 8 has no tensor 'more'"),
    "shape": (lambda t: t.update({BIAS: torch.ones(7)}), {}, "is float32 7, and in .* float32 8"),
    "type": (lambda t: t.update({BIAS: torch.ones(8).half()}), {}, "is float16 8, and in .* float32 8"),
    "infinite": (lambda t: t[BIAS].fill_(torch.inf), {}, f"'{BIAS}' holds numbers that are not finite"),
    "masked bias": (lambda t: t.update({f"mask/{BIAS}": torch.ones(8).bool()}), {}, "is of no prunable kernel"),
    "mask shape": (lambda t: t.update({f"mask/{KERNEL}": torch.ones(8).bool()}), {}, "is bool 8, and that kernel"),
    "mask type": (lambda t: t.update({f"mask/{KERNEL}": t[KERNEL].clone()}), {}, "is not of bools"),
    "mask bytes": (lambda t: t[f"mask/{KERNEL}"].view(torch.uint8).fill_(7), {}, "is not of bools"),
    "format": (lambda t: None, {"format": "tombola ticket 9"}, "is not a ticket: the format"),
    "no format": (lambda t: None, {"format": None}, "is not a ticket: the format"),
    "no image": (lambda t: None, {"image": None}, "its metadata have no 'image'"),
    "odd image": (lambda t: None, {"image": "[1, 32]"}, "image.2: is missing"),
    "no JSON": (lambda t: None, {"model": "{"}, "'model' in its metadata is no JSON"),
    "unknown model": (lambda t: None, {"model": '{"name":"ours"}'}, "unknown model 'ours'"),
    "other model": (lambda t: None, {"model": '{"name":"vae"}'}, "of a vae of width 64 is missing"),
    "plugin": (
        lambda t: None,
        {"model": '{"name":"ours"}', "trial": '{"plugins":["our_plugin"]}'},
        "plugins: cannot import 'our_plugin'",
    ),
    "no size for it": (lambda t: None, {"model": '{"name":"vae"}', "image": "[1, 9, 9]"}, "that cannot be built"),
    "too wide": (
        lambda t: None,
        {"model": f'{{"name":"linear_autoencoder","width":{10**30}}}'},
        "width: must be from",
    ),
    "roles": (lambda t: None, {"roles": "{}"}, "the role of .* is None, and in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_sound_ticket_is_refused_in_one_sentence(case: str, ticket: Path, store: Store) -> None:
    change, entries, message = REFUSED[case]
    before = set(store.list(names.OBJECTS))
    with pytest.raises(TicketError, match=message) as refused:
        import_ticket(store, altered(ticket, change, **entries))
    assert str(refused.value).startswith(f"{ticket}: ")
    assert "\n" not in str(refused.value)
    assert set(store.list(names.OBJECTS)) == before


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:50], lambda b: b"{}" + b])
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], ticket: Path, store: Store) -> None:
    ticket.write_bytes(damage(ticket.read_bytes()))
    with pytest.raises(TicketError, match="is not a safetensors file, or is damaged"):
        import_ticket(store, ticket)


def test_a_file_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TicketError, match="nowhere: cannot be read: No such file"):
        import_ticket(store, tmp_path / "nowhere")


def test_a_ticket_that_was_not_imported_is_not_there(store: Store) -> None:
    with pytest.raises(
        TicketError, match=r"no ticket '0123' in store .*; `tombola import FILE --store file:.*` brings one in"
    ):
        imported(store, "0123")


def test_a_ticket_of_a_model_that_is_not_known_is_refused_by_name(store: Store) -> None:
    fact = {"sha256": "ab" * 32, "model": {"name": "ours", "width": 8}, "image": [1, 32, 32]}
    Objects(store).commit_fact(names.ticket("0123"), fact)
    with pytest.raises(TicketError, match="ticket 0123: model: unknown model 'ours'"):
        imported(store, "0123")
