"""Sweeps that take tickets from others, by the command."""

from pathlib import Path
from typing import Any

from orchestrator import results
from tests.command import Tombola, write
from tests.toys import TOY_MODELS

STORE = ("--store", "store")


def sweep(path: Path, source: dict[str, Any], **changes: Any) -> str:
    transfer = {"name": "transfer", "source": source}
    shape = {"name": "takes", "models": [TOY_MODELS["vae"]], "methods": [transfer], "sparsities": [0.36]}
    return write(path / "takes.yaml", **{**shape, **changes})


def given(tombola: Tombola, path: Path) -> None:
    ran = tombola("run", write(path / "gives.yaml", models=[TOY_MODELS["vae"]], sparsities=[0.36]), *STORE, "--local")
    assert ran.code == 0


def test_a_query_means_the_same_trial_when_its_own_results_would_match(tombola: Tombola, tmp_path: Path) -> None:
    given(tombola, tmp_path)
    file = sweep(tmp_path, {"query": "model == 'vae' and sparsity > 0.3"})
    assert tombola("plan", file, *STORE).code == 0
    assert tombola("run", file, *STORE, "--local").code == 0
    again = tombola("run", file, *STORE, "--local")
    assert (again.code, "of which this run trained 0" in again.out) == (0, True)
    assert "takes: 1 done" in tombola("status", file, *STORE).out


def test_what_was_taken_is_explained_and_exported(tombola: Tombola, tmp_path: Path) -> None:
    file = sweep(tmp_path, {"model": {**TOY_MODELS["vae"], "beta": 2.0}})
    assert tombola("run", file, *STORE, "--local").code == 0
    trial_id = results.trials("store")["trial_id"][0]
    told = tombola("explain", trial_id, *STORE).out
    assert "move mask" in told
    assert "graft" in told
    assert tombola("export", trial_id, "ticket.safetensors", *STORE).code == 0


def test_a_ticket_from_a_file_is_planned_as_what_is_there(tombola: Tombola, tmp_path: Path) -> None:
    given(tombola, tmp_path)
    tombola("export", results.trials("store")["trial_id"][0], "ticket.safetensors", *STORE)
    ticket = tombola("import", "ticket.safetensors", *STORE).out.split()[3].rstrip(";")
    planned = tombola("plan", sweep(tmp_path, {"ticket": ticket}), *STORE)
    assert planned.code == 0, planned.err
    assert "4 epochs" in planned.out, "the critical path is the ticket's own"


def test_a_source_of_another_width_is_told_in_one_sentence(tombola: Tombola, tmp_path: Path) -> None:
    given(tombola, tmp_path)
    trial_id = results.trials("store")["trial_id"][0]
    wider = [{**TOY_MODELS["vae"], "width": 4}]
    ran = tombola("run", sweep(tmp_path, {"trial_id": trial_id}, models=wider), *STORE, "--local")
    assert ran.code == 2
    assert ran.err.strip().endswith(
        "source: vae is of width 2 and vae of width 4; tickets move between models of one width"
    )
