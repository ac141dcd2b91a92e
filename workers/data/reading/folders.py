"""Where data sets lie, and where their decoded images are kept."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The folder that data sets are looked for in, laid out as a root of torchvision."""
    chosen = os.environ.get("TOMBOLA_DATA")
    return Path(chosen).expanduser() if chosen else _cache() / "data"


def decoded_folder() -> Path:
    """The folder of what has been decoded once."""
    return _cache() / "decoded"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tombola"
