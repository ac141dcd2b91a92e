"""With what optimizer a ticket's training begins."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from orchestrator import results
from search_spaces.trial import Trial
from tests.toys import toy_trial
from workers import data
from workers.archive.states import Archive
from workers.lab.recorder import Recorder
from workers.lab.references import State
from workers.lab.stages import Train
from workers.models import build
from workers.models.state import MOMENTS
from workers.program import Outcome, run_program
from workers.randomness import generator
from workers.store.backends import Store
from workers.tickets.export import export_ticket
from workers.trial import run_trial

pytestmark = pytest.mark.usefixtures("one_thread")

FINDERS: list[dict[str, Any]] = [
    {"name": "imp"},
    {"name": "one_shot"},
    {"name": "snip", "rewind": 1},
    {"name": "early_bird", "look_back": 2, "delta": 0.9, "masks": "weights"},
    {"name": "fixed_epoch", "epoch": 2, "masks": "weights"},
    {"name": "transfer", "source": {"method": "one_shot"}},
]


def planned(method: dict[str, Any], **changes: Any) -> tuple[Trial, Recorder, Outcome]:
    trial = toy_trial(methods=[method], **{"sparsities": [0.36], **changes})
    lab = Recorder(trial, data.card(trial.dataset))
    return trial, lab, run_program(lab, trial)


def ticket_line(method: dict[str, Any], **changes: Any) -> str:
    return planned(method, **changes)[2].final.line.key


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: finder["name"])
def test_a_ticket_begins_with_a_fresh_optimizer_unless_its_moments_are_rewound(finder: dict[str, Any]) -> None:
    fresh, (_, _, rewound) = planned(finder)[2], planned({**finder, "optimizer": "rewound"})
    assert fresh.moments is None
    assert rewound.moments == rewound.ticket.start
    assert fresh.final.line.key == ticket_line({**finder, "optimizer": "fresh"}) != rewound.final.line.key


@pytest.mark.parametrize("finder", [f for f in FINDERS if f["name"] in ("imp", "one_shot", "snip")], ids=str)
def test_where_nothing_was_trained_yet_there_are_no_moments_to_keep(finder: dict[str, Any]) -> None:
    first = {**finder, "rewind": 0}
    assert ticket_line(first) == ticket_line({**first, "optimizer": "rewound"})


@pytest.mark.parametrize("optimizer", ["fresh", "rewound"])
def test_each_round_begins_as_the_ticket_does_and_the_dense_line_goes_on(optimizer: str) -> None:
    _, lab, outcome = planned({"name": "imp", "optimizer": optimizer})
    lines = {stage.line.key: stage.line for stage in lab.stages.values() if isinstance(stage, Train)}
    dense, *rounds = lines.values()
    assert dense.moments is None
    assert len(rounds) == 2
    assert {line.moments for line in rounds} == ({outcome.ticket.start} if optimizer == "rewound" else {None})
    assert dense.key == planned({"name": "dense"}, sparsities=[])[2].final.line.key


@pytest.mark.parametrize("optimizer", ["fresh", "rewound"])
@pytest.mark.parametrize("control", ["reinit", "shuffle_layer", "random_global", "erk", "invert"])
def test_controls_begin_as_the_ticket_that_they_are_compared_with(control: str, optimizer: str) -> None:
    finder = {"name": "imp", "optimizer": optimizer}
    assert planned({"name": control, "of": finder})[2].moments == planned(finder)[2].moments


@pytest.mark.parametrize("optimizer", ["fresh", "rewound"])
@pytest.mark.parametrize("control", ["mask_only", "weights_only"])
def test_controls_of_transfers_begin_as_it_does(control: str, optimizer: str) -> None:
    outcome = planned({"name": control, "of": {**FINDERS[-1], "optimizer": optimizer}})[2]
    assert outcome.moments == (outcome.ticket.start if optimizer == "rewound" else None)


@pytest.mark.parametrize("control", ["fine_tune", "lr_rewinding"])
def test_what_trains_on_keeps_the_moments_of_the_weights_that_it_goes_on_from(control: str) -> None:
    recipe = {"batch": 20, "decay": {"epochs": 6}}
    outcome = planned({"name": control, "of": "imp"}, recipe=recipe)[2]
    assert outcome.moments == outcome.ticket.found == outcome.ticket.start


def moments(store: Store, state: State) -> dict[str, Tensor]:
    point = Archive(store).point(state, moments=True)
    assert point is not None
    return {name.removeprefix(MOMENTS): tensor for name, tensor in point.tensors.items() if name.startswith(MOMENTS)}


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [
        ({"name": "imp"}, "fresh"),
        ({"name": "imp", "optimizer": "rewound"}, "rewound"),
        ({"name": "reinit", "of": "imp"}, "fresh"),
        ({"name": "reinit", "of": {"name": "imp", "optimizer": "rewound"}}, "rewound"),
        ({"name": "fine_tune", "of": "one_shot"}, "kept"),
    ],
    ids=str,
)
def test_an_exported_ticket_repeats_its_trial_in_plain_pytorch(
    method: dict[str, Any], optimizer: str, store: Store, tmp_path: Path
) -> None:
    trial, _, outcome = planned(method)
    assert run_trial(trial, store) == "done"
    (row,) = results.trials(store.uri).to_dict("records")
    path = tmp_path / "ticket.safetensors"
    export_ticket(store, trial, row["start_key"], results.mask(store.uri, trial.id), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["optimizer"] == optimizer
    tensors = load_file(path)
    masks = {name.removeprefix("mask/"): tensors.pop(name) for name in list(tensors) if name.startswith("mask/")}
    networks = build(trial.model, (1, 32, 32)).networks.to_empty(device="cpu")
    networks.load_state_dict({name: tensor * masks.get(name, 1) for name, tensor in tensors.items()})
    adam = torch.optim.Adam(networks.parameters(), lr=trial.recipe.lr)
    assert (outcome.moments is None) == (optimizer == "fresh")
    if outcome.moments:
        assert row["moments_key"] == outcome.moments.key
        kept = moments(store, outcome.moments)
        for name, parameter in networks.named_parameters():
            adam.state[parameter] = {q: kept[f"{name}.{q}"].clone() for q in ("step", "exp_avg", "exp_avg_sq")}
    images = torch.from_numpy(data.load(trial.dataset).train.copy()).float() / 127.5 - 1
    for epoch in range(int(metadata["epoch"]), outcome.final.epoch):
        for indices in torch.randperm(len(images), generator=generator(0, "order", epoch)).split(trial.recipe.batch):
            adam.zero_grad()
            code = networks["encoder"](images[indices])
            torch.nn.functional.mse_loss(networks["decoder"](code), images[indices]).backward()
            adam.step()
            with torch.no_grad():
                for name, kept_there in masks.items():
                    networks.get_parameter(name).mul_(kept_there)
    final = Archive(store).point(outcome.final, moments=False)
    assert final is not None
    for name, tensor in networks.state_dict().items():
        torch.testing.assert_close(tensor, final.tensors[name], rtol=1e-4, atol=1e-5)
