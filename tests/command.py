"""The command as tests call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
