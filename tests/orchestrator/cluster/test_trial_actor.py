"""The actor's own part, without Ray around it."""

from __future__ import annotations

import pickle
from pathlib import Path

from orchestrator.cluster.trial_actor import StoreBroke, TrialActor
from tests.toys import toy_trial
from workers.store import names


def test_a_machine_on_which_the_store_is_another_folder_says_so_and_trains_nothing(tmp_path: Path) -> None:
    actor = TrialActor((tmp_path / "elsewhere").as_uri())
    actor.run(pickle.dumps((toy_trial(), {})), names.sweep("0" * 64))
    said = actor._said.get()
    assert isinstance(said, StoreBroke)
    assert "does not see what is there" in said.error
    assert not (tmp_path / "elsewhere").exists()
