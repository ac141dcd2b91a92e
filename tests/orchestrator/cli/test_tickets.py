"""Tickets that leave a store as files and come into another, as a user meets them."""

import json
import sys
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from orchestrator import results
from tests.command import Tombola, write
from tests.toys import TOY_MODELS
from workers.measures.metrics import METRICS
from workers.models import backbones

TRAINED, ELSEWHERE = "trained.safetensors", "elsewhere"


@pytest.fixture
def trial_id(tombola: Tombola, tmp_path: Path) -> str:
    tombola("run", write(tmp_path / "sweep.yaml", models=[TOY_MODELS["vae"]], sparsities=[0.36]))
    (row,) = results.trials("tombola-store").itertuples()
    return str(row.trial_id)


def test_a_trained_ticket_is_exported_with_its_metrics(tombola: Tombola, trial_id: str) -> None:
    assert tombola("export", trial_id, TRAINED, "--trained").code == 0
    row = results.trials("tombola-store").iloc[0]
    with safe_open(TRAINED, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["metrics"]) == row[list(METRICS)].dropna().to_dict()
    assert metadata["epoch"] == row["final_key"].partition("@")[2]
    assert metadata["trial"] == row["spec"]


def test_trained_weights_that_were_lost_are_made_again_for_export(tombola: Tombola, trial_id: str) -> None:
    tombola("export", trial_id, TRAINED, "--trained")
    before = load_file(TRAINED)
    for state in Path("tombola-store", "objects", "states").rglob("*.weights"):
        state.unlink()
    assert tombola("export", trial_id, TRAINED, "--trained").code == 0
    after = load_file(TRAINED)
    assert all(before[name].equal(after[name]) for name in before)


def test_the_latest_of_several_evaluations_is_the_one_that_is_exported(
    tombola: Tombola, trial_id: str, tmp_path: Path
) -> None:
    changes = {"models": [TOY_MODELS["vae"]], "sparsities": [0.36]}
    tombola("run", write(tmp_path / "sweep.yaml", **changes, evaluation={"samples": 20}))
    tombola("export", trial_id, TRAINED, "--trained")
    with safe_open(TRAINED, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["trial"])["evaluation"]["samples"] == 20
    rows = results.trials("tombola-store").set_index("samples")
    assert json.loads(metadata["metrics"])["elbo"] == rows.loc[20, "elbo"] != rows.loc[50, "elbo"]


@pytest.mark.parametrize("trained", [[], ["--trained"]])
def test_an_imported_ticket_moves_to_another_model(
    trained: list[str], tombola: Tombola, trial_id: str, tmp_path: Path
) -> None:
    tombola("export", trial_id, "ticket.safetensors", *trained)
    imported = tombola("import", "ticket.safetensors", "--store", ELSEWHERE)
    assert imported.code == 0
    ticket = imported.out.split()[3].rstrip(";")
    assert imported.out == (
        f'imported ticket.safetensors as {ticket}; name it in a sweep as source: {{ticket: "{ticket}"}}\n'
    )
    transfer = {"name": "transfer", "source": {"ticket": ticket}, "move": "decoder"}
    sweep = write(tmp_path / "other.yaml", models=[TOY_MODELS["dcgan"]], methods=[transfer], sparsities=[0.36])
    ran = tombola("run", sweep, "--store", ELSEWHERE)
    assert ran.code == 0, ran.err + ran.out
    given = results.mask("tombola-store", trial_id)
    taken = results.mask(ELSEWHERE, results.trials(ELSEWHERE)["trial_id"][0])
    assert taken["generator.up1.conv.weight"].equal(given["decoder.up1.conv.weight"])


LAB = """
from torch import nn
from workers.models import backbones

class Odd(nn.Module):
    def forward(self, inputs):
        return inputs.sin()

class Lab:
    def __init__(self, image, width, stages):
        self.image, self.width = image, width
    def encoder(self, head, outputs, *, norm_head=False, norm="batch"):
        body = nn.Sequential(nn.Conv2d(1, self.width, 8, 8), {activation})
        body.add_module(head, nn.Conv2d(self.width, outputs, 4))
        return body.append(nn.Flatten())
    def decoder(self, head, inputs):
        body = nn.Sequential(nn.Unflatten(1, (inputs, 1, 1)))
        body.add_module(head, nn.ConvTranspose2d(inputs, self.width, 4))
        body.add_module("up1", nn.ConvTranspose2d(self.width, 1, 8, 8))
        return body.append(nn.Tanh())

backbones["{name}"] = Lab
"""


@pytest.mark.parametrize(("name", "activation"), [("leaky_lab", "nn.LeakyReLU(0.2)"), ("odd_lab", "Odd()")])
def test_a_ticket_of_a_plugins_backbone_travels_and_says_what_it_is_made_of(
    name: str,
    activation: str,
    tombola: Tombola,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / f"{name}.py").write_text(LAB.replace("{activation}", activation).replace("{name}", name))
    monkeypatch.syspath_prepend(tmp_path)
    model = {**TOY_MODELS["vae"], "backbone": name}
    sweep = write(tmp_path / "sweep.yaml", models=[model], sparsities=[0.36], plugins=["tests.toys", name])
    assert tombola("run", sweep).code == 0
    trial_id = results.trials("tombola-store")["trial_id"][0]
    assert tombola("export", trial_id, TRAINED, "--trained").code == 0
    with safe_open(TRAINED, "pt") as file:
        described = "architecture" in file.metadata()
    assert described == (activation != "Odd()")
    assert [record.getMessage() for record in caplog.records] == [
        f"{TRAINED} describes no architecture, so that only tombola can rebuild it: encoder.1 is a Odd, which is no "
        f"layer of torch.nn"
    ] * (not described)

    # As in a process that has not imported the plugin yet.
    backbones.pop(name)
    sys.modules.pop(name)
    imported = tombola("import", TRAINED, "--store", ELSEWHERE)
    assert imported.code == 0, imported.err
    backbones.pop(name)
    sys.modules.pop(name)
    transfer = {"name": "transfer", "source": {"ticket": imported.out.split()[3].rstrip(";")}, "move": "decoder"}
    taker = {**TOY_MODELS["dcgan"], "backbone": name}
    other = write(tmp_path / "other.yaml", models=[taker], methods=[transfer], sparsities=[0.36])
    ran = tombola("run", other, "--store", ELSEWHERE)
    assert ran.code == 0, ran.err + ran.out


def test_a_file_that_is_no_ticket_is_refused(tombola: Tombola) -> None:
    Path("ticket.safetensors").write_text("not a ticket")
    ran = tombola("import", "ticket.safetensors")
    assert ran.code == 2
    assert ran.err.startswith("tombola: ticket.safetensors: is not a safetensors file, or is damaged")
    assert not Path("tombola-store").exists()
