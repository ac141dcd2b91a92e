"""Tickets that are exported to files, as a user meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from orchestrator import results
from tests.command import Tombola, only_trial
from workers.archive.states import Archive
from workers.lab.references import Line, State
from workers.models.state import weights_only
from workers.store.backends import open_store


def test_an_exported_ticket_is_used_in_three_lines(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    trial_id = only_trial("imp", 0.36)
    assert tombola("export", trial_id, "ticket.safetensors").code == 0

    ticket = load_file("ticket.safetensors")
    masks = {name.removeprefix("mask/"): mask for name, mask in ticket.items() if name.startswith("mask/")}
    weights = {name: w * masks.get(name, 1) for name, w in ticket.items() if not name.startswith("mask/")}

    decoder = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1024), torch.nn.Tanh())
    theirs = [weights[f"decoder.{n}.linear.{k}"] for n in ("from_code", "up1") for k in ("weight", "bias")]
    decoder.load_state_dict(dict(zip(decoder.state_dict(), theirs, strict=True)))
    assert decoder(torch.zeros(1, 4)).shape == (1, 1024)
    mask = results.mask("tombola-store", trial_id)
    assert all(mask[name].equal(kept) for name, kept in masks.items())
    with safe_open("ticket.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["trial"])["sparsity"] == 0.36
    assert json.loads(metadata["roles"])["decoder.up1.linear.weight"] == "decode.up1.linear.weight"


def test_a_ticket_that_cannot_be_written_says_so(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    ran = tombola("export", only_trial("imp", 0.2), "no/such/folder/x")
    assert ran.code == 2
    assert "cannot be written: No such file" in ran.err


def test_an_exported_ticket_is_the_start_state(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    trial_id = only_trial("imp", 0.36)
    tombola("export", trial_id, "ticket.safetensors")
    rows = results.trials("tombola-store").set_index("trial_id")
    line, _, epoch = rows.loc[trial_id, "start_key"].partition("@")
    point = Archive(open_store("tombola-store")).point(State(Line(line), int(epoch)), moments=True)
    ticket = load_file("ticket.safetensors")
    start = weights_only(point.tensors)
    assert all(ticket[name].equal(start[name]) for name in start)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_start_state_that_was_lost_is_made_again_for_export(
    tombola: Tombola, sweep: str, damage: Callable[[Path], None]
) -> None:
    tombola("run", sweep)
    trial_id = only_trial("imp", 0.36)
    tombola("export", trial_id, "before.safetensors")
    for state in Path("tombola-store", "objects", "states").rglob("*.full"):
        damage(state)
    assert tombola("export", trial_id, "after.safetensors").code == 0
    before, after = load_file("before.safetensors"), load_file("after.safetensors")
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
