"""The command as tests call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator import results
from tests.toys import toy_sweep


@dataclass
class Ran:
    code: int
    out: str
    err: str


Tombola = Callable[..., Ran]


def write(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump(toy_sweep(**changes)))
    return str(path)


def only_trial(method: str, sparsity: float, store: str = "tombola-store") -> str:
    rows = results.trials(store)
    return str(rows[(rows["method"] == method) & (rows["sparsity"] == sparsity)]["trial_id"].iloc[0])
