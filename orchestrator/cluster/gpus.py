"""The GPUs of this machine, as seen by the driver, which loads neither torch nor its libraries."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from search_spaces.trial import Trial

_log = logging.getLogger("tombola")


def gpus_here(devices: Path = Path("/dev")) -> int:
    """Number of NVIDIA GPUs; 0 if CUDA_VISIBLE_DEVICES hides them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return 0
    return sum(path.name.removeprefix("nvidia").isdecimal() for path in devices.glob("nvidia*"))


def tell_of_unused(trials: Iterable[Trial], gpus: int) -> None:
    """Warn if this machine has GPUs and no trial asks for any."""
    if gpus and not any(trial.resources.gpus for trial in trials):
        _log.warning(
            "this machine has %d GPU%s, and every trial of the sweep runs on the CPU; `resources: {gpus: 1}` in its "
            "file, or a share such as 0.25, trains on a GPU",
            gpus,
            "" if gpus == 1 else "s",
        )
