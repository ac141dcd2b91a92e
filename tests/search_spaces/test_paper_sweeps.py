"""The sweeps that ship: each loads, and is planned and priced within seconds, on any machine and without data."""

import time
from pathlib import Path

import pytest

import search_spaces
from orchestrator.execution.executor import InProcess
from orchestrator.planning.plan import make_plan
from orchestrator.pricing.estimate import estimate
from search_spaces import load_sweep
from workers import data
from workers.data.sources import emoji, idx
from workers.settling.distances import Choices
from workers.store.backends import Store

FOLDER = Path(search_spaces.__file__).parent
SWEEPS = sorted(FOLDER.rglob("*.yaml"))
PAPER = sorted(FOLDER.glob("paper/*.yaml"))
SECONDS = 10
"""Of CPU time, since others may be using the machine."""


def name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOMBOLA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(idx.fashion_mnist, "_elsewhere", ())
    data.card.cache_clear()


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_sweep_is_planned_and_priced_within_seconds(path: Path, store: Store) -> None:
    began = time.process_time()
    sweep = load_sweep(path)
    if any(dataset.name == "emoji" for dataset in sweep.datasets) and not (emoji.DEBIAN / emoji.FONT).is_file():
        pytest.skip("only the font can tell how many emoji there are")
    trials = Choices(store, planning=True).settle(sweep.trials())
    plan = make_plan(trials, data.card_or_nominal)
    figures = estimate(plan, store, InProcess().profiles_or_sizes(plan.models, store))
    assert time.process_time() - began < SECONDS
    assert 0 < figures.flops <= figures.flops_alone
    assert figures.bytes_kept > 0


@pytest.mark.parametrize("path", PAPER, ids=name)
def test_the_paper_is_repeated_as_it_was(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(sweep.seeds) == 5
    assert sweep.name == f"paper-{path.stem.replace('_', '-')}"
    assert {trial.rewind for trial in sweep.trials() if trial.method.name == "imp"} <= {0, 10}
    assert {trial.epochs for trial in sweep.trials()} <= {100, 200}


@pytest.mark.parametrize("path", PAPER, ids=name)
def test_every_sweep_of_the_paper_has_a_small_counterpart(path: Path) -> None:
    elsewhere = {
        "vae": "fashion",
        "dcgan": "fashion",
        "convergence": "fashion",
        "sngan": "sngan_emoji",
        "wgan": "wgan_gp_emoji",
        "figure8": "transfer_fashion",
    }
    assert (FOLDER / "small" / f"{elsewhere.get(path.stem, path.stem)}.yaml").is_file()


def test_names_are_told_apart() -> None:
    names = [load_sweep(path).name for path in SWEEPS]
    assert len(set(names)) == len(names)
