"""A store whose objects are damaged, every kind in many ways: no traceback, and no result but the right one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator import results
from tests.command import Ran, Tombola, write
from tests.toys import TOY_MODELS
from workers.store.objects import seal

EARLY = {"name": "early_bird", "look_back": 2, "delta": 0.99, "masks": "weights"}
SWEEP: dict[str, Any] = {
    "models": [TOY_MODELS["linear_autoencoder"], TOY_MODELS["vae"], {"name": "faulty", "broken": "never"}],
    "methods": ["imp", "reinit", EARLY, {**EARLY, "delta": 0.0}],
    "sparsities": [0.36],
    "exclude": [{"model": ["vae", "faulty"], "method": ["reinit", "early_bird"]}],
    "evaluation": {"samples": 20, "selection": {"every": 2, "samples": 20}},
}
KINDS = {
    "full states": "objects/states/*/*/*.full",
    "weights": "objects/states/*/*/*.weights",
    **{
        name: f"objects/{name}/*/*"
        for name in ("masks", "prunings", "evaluations", "pictures", "selections", "profiles")
    },
    "glimpses": "objects/glimpses/*/*/*",
    "ledger": "ledger/*/*/*",
    "failures": "failures/*/*",
    "sweeps": "sweeps/*",
    "rosters": "rosters/*",
    "codes": "objects/codes/*/*",
    **{name: f"{name}/*" for name in ("trials", "scores", "history")},
    "rows of masks": "masks/*",
}


def _sealed(payload: bytes) -> Callable[[Path, str], None]:
    return lambda path, name: _put(path, seal(name, payload))


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _instead(make: Callable[[Path], object]) -> Callable[[Path, str], None]:
    def damage(path: Path, name: str) -> None:
        path.unlink()
        make(path)

    return damage


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path, str], None]:
    return lambda path, name: _put(path, change(path.read_bytes()))


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[Path, str], None]] = {
    "empty": _changed(lambda data: b""),
    "half": _changed(lambda data: data[: len(data) // 2]),
    "a bit flipped": _changed(_flipped),
    "zeros": _changed(lambda data: bytes(len(data))),
    "a huge header": _changed(lambda data: b"\xff" * 9 + data),
    "text": _changed(lambda data: b"hello"),
    "sealed null": _sealed(b"null"),
    "a sealed list": _sealed(b"[]"),
    "a sealed mapping": _sealed(b'{"epoch": "soon", "kind": 3}'),
    "sealed depth": _sealed(b"[" * 100_000),
    "a folder": _instead(Path.mkdir),
    "a link to nothing": _instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
}
IN_THE_WAY = {"a folder", "a link to nothing", "a link to itself"}
"""What a store does not remove, since it is no object of its own."""

WHOLE = os.environ.get("TOMBOLA_TEST_DAMAGE") == "whole"
PAIRS = (
    list(product(KINDS, DAMAGE))
    if WHOLE
    else [(kind, list(DAMAGE)[5 * i % len(DAMAGE)]) for i, kind in enumerate(KINDS)]
)
SAME = [
    *("trial_id", "status", "kept", "prunable", "scored_by", "tied_share", "reconstruction_mse", "elbo", "best_epoch"),
    *("best_score", "search_epochs", "search_flops", "ticket_epochs", "ticket_flops", "start_key", "mask_key"),
    *("final_key", "evaluation_key", "emergence_epoch", "layer_collapse"),
]


def rows(store: Path) -> list[dict[str, Any]]:
    table = results.trials(str(store))[SAME].sort_values("trial_id")
    return table.astype(object).where(pd.notna(table), None).to_dict("records")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "store"


@pytest.mark.parametrize(("kind", "damage"), PAIRS)
def test_damage_ends_in_a_sentence_or_in_the_right_results(
    kind: str, damage: str, tombola: Tombola, finished: Path, tmp_path: Path
) -> None:
    sweep, store = write(tmp_path / "sweep.yaml", **SWEEP), tmp_path / "store"
    if not finished.exists():
        assert tombola("run", sweep, "--store", str(finished)).code == 0
    right = rows(finished)
    trial = next(row["trial_id"] for row in right if row["status"] == "done")
    shutil.copytree(finished, store)
    if KINDS[kind].partition("/")[0] not in ("trials", "scores", "history", "masks"):
        shutil.rmtree(store / "trials")  # so that all is read again
    damaged = sorted(store.glob(KINDS[kind]))
    assert damaged
    for path in damaged:
        DAMAGE[damage](path, path.relative_to(store).as_posix())
    there = ["--store", str(store)]
    for command in ("status", "results", "plan"):
        _check(tombola(command, sweep, *there))
    _check(tombola("explain", trial, *there))
    _check(tombola("export", trial, str(tmp_path / "ticket.safetensors"), *there))
    ran = tombola("run", sweep, *there)
    _check(ran)
    if ran.code == 0 or damage not in IN_THE_WAY:
        assert ran.code == 0, ran.err
        assert rows(store) == right
        assert tombola("results", sweep, *there).code == 0


def _check(ran: Ran) -> None:
    assert ran.code in (0, 2)
    if ran.code == 2:
        (told,) = [line for line in ran.err.splitlines() if line.startswith("tombola: ")]
        assert len(told) < 2000
