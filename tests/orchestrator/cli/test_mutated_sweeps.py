"""Sweep files of any content are planned, or refused with one sentence, within seconds."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import search_spaces
from orchestrator.planning.inventory import take_inventory
from orchestrator.planning.plan import make_plan
from search_spaces import load_sweep
from search_spaces.errors import TombolaError
from tests.mutations import mutated
from workers import data
from workers.settling.distances import Choices
from workers.store.backends import open_store

MUTATIONS = int(os.environ.get("TOMBOLA_TEST_MUTATIONS", 50))
PLANNED = 100
"""Trials that are planned here; more of them only take longer."""

SECONDS = 10
SWEEPS = [yaml.safe_load(path.read_text()) for path in sorted(Path(search_spaces.__file__).parent.rglob("*.yaml"))]


def outcome(file: Path, store: str) -> str:
    try:
        sweep = load_sweep(file)
        place = open_store(store)
        trials = Choices(place, planning=True).settle(sweep.trials()[:PLANNED])
        take_inventory(make_plan(trials, data.card_or_nominal), place)
    except TombolaError as error:
        return str(error)
    return "planned"


def test_a_mutated_sweep_is_planned_or_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcomes: list[str] = []
    for number in range(MUTATIONS):
        rng = random.Random(number)
        sweep: dict[str, Any] = rng.choice(SWEEPS)
        file = tmp_path / "sweep.yaml"
        file.write_bytes(mutated(sweep, rng))
        began = time.process_time()
        try:
            said = outcome(file, str(tmp_path / "store"))
        except Exception as error:
            raise AssertionError(f"mutation {number} of {sweep['name']}: {type(error).__name__}") from error
        took = time.process_time() - began
        assert took < SECONDS, f"mutation {number} of {sweep['name']} took {took:.0f} s: {said}"
        assert len(said) < 2000, number
        assert "\n" not in said, number
        outcomes.append(said)
    assert 0.05 < outcomes.count("planned") / len(outcomes) < 0.6
