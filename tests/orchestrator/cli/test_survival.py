"""The command is killed, interrupted, or its store damaged: nothing is lost, and what is damaged is made again."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import results
from tests.command import Tombola, write
from tests.toys import TOY_MODELS
from workers.archive.ledger import Ledger
from workers.store import names
from workers.store.backends import open_store
from workers.store.objects import Objects

REPOSITORY = Path(__file__).parents[3]


def test_damaged_rows_are_made_again(tombola: Tombola, sweep: str) -> None:
    tombola("run", sweep)
    damaged = next(Path("tombola-store", names.TRIALS).iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert "1 missing" in tombola("status", sweep).out
    assert "5 done" in tombola("run", sweep).out
    assert len(results.trials("tombola-store")) == 5


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    sweep = write(
        tmp_path / "sweep.yaml",
        models=[TOY_MODELS["linear_autoencoder"], TOY_MODELS["dcgan"]],
        methods=["imp", "reinit"],
        sparsities={"rounds": 2},
        checkpoint_every={"epochs": 1},
        epochs=12,
    )
    chance = random.Random(1)

    def command(verb: str, store: str) -> list[str]:
        script = "from orchestrator.cli import main; main()"
        return [sys.executable, "-c", script, verb, sweep, "--store", str(tmp_path / store), "--local"]

    def committed() -> int:
        return sum(1 for _ in open_store(str(tmp_path / "killed")).list(names.LEDGER))

    undisturbed = subprocess.Popen(command("run", "whole"), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    for _ in range(4):
        before = committed()
        victim = subprocess.Popen(command("resume", "killed"), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        while committed() == before and victim.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    subprocess.run(command("resume", "killed"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
    assert undisturbed.wait() == 0

    whole, killed = (str(tmp_path / store) for store in ("whole", "killed"))
    ids = results.trials(whole)["trial_id"]
    assert set(results.trials(killed)["trial_id"]) == set(ids)
    for trial_id in ids:
        assert results.mask(killed, trial_id).pack() == results.mask(whole, trial_id).pack()
    for line, epochs in _epochs_by_line(killed).items():
        assert sorted(epochs) == sorted(set(epochs)), f"an epoch of {line} was committed twice"
    assert {line: set(epochs) for line, epochs in _epochs_by_line(killed).items()} == {
        line: set(epochs) for line, epochs in _epochs_by_line(whole).items()
    }


def _epochs_by_line(store: str) -> dict[str, list[int]]:
    epochs: dict[str, list[int]] = {}
    for record in Ledger(Objects(open_store(store))).all():
        epochs.setdefault(record.line, []).extend(epoch.number for epoch in record.epochs)
    return epochs


def test_ctrl_c_finishes_the_epoch_and_says_how_to_go_on(tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", epochs=100_000, rewind=0, sparsities=[0.2])
    script = "from orchestrator.cli import main; main()"
    store = tmp_path / "store"
    running = subprocess.Popen(
        [sys.executable, "-c", script, "run", sweep, "--store", str(store), "--local"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    while running.poll() is None and not any(Path(store, "objects", "states").rglob("*.full")):
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "tombola resume" in out
    assert len(list(Path(store, "objects", "states").rglob("*.checkpoint"))) == 1


@pytest.mark.parametrize("dataset", [names.MASKS, names.HISTORY, names.SCORES])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_lost_mask_history_or_score_is_made_again(
    tombola: Tombola, sweep: str, dataset: str, damage: Callable[[Path], None]
) -> None:
    tombola("run", sweep)
    damage(next(Path("tombola-store", dataset).iterdir()))
    assert "1 missing" in tombola("status", sweep).out
    before = set(open_store("tombola-store").list("ledger"))
    assert "5 done" in tombola("run", sweep).out
    assert getattr(results, dataset)("tombola-store")["trial_id"].nunique() == 5
    assert set(open_store("tombola-store").list("ledger")) == before


def test_a_damaged_ledger_ends_no_sweep(tombola: Tombola, tmp_path: Path) -> None:
    sweep = write(tmp_path / "sweep.yaml", checkpoint_every={"epochs": 1}, sparsities=[0.2])
    tombola("run", sweep)
    for record in Path("tombola-store", "ledger").rglob("*.checkpoint.json"):
        record.write_bytes(b"")
    sweep = write(tmp_path / "sweep.yaml", checkpoint_every={"epochs": 1}, sparsities=[0.2], evaluation={"samples": 9})
    ran = tombola("run", sweep)
    assert ran.code == 0
    assert "1 done" in ran.out
