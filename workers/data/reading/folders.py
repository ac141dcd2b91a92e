"""The folders of data sets and of their decoded images."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The folder that holds data sets, laid out like a root of torchvision; `TOMBOLA_DATA` sets it."""
    chosen = os.environ.get("TOMBOLA_DATA")
    return Path(chosen).expanduser() if chosen else _cache() / "data"


def decoded_folder() -> Path:
    """The folder that holds decoded images."""
    return _cache() / "decoded"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tombola"
