"""The device that a trial runs on, and the settings that make its numbers repeatable."""

from __future__ import annotations

import os
import platform
import re
import resource
from contextlib import suppress
from pathlib import Path

import torch

from search_spaces.errors import TombolaError
from search_spaces.trial import Resources

_PROCESS = Path("/proc/self")


class DeviceError(TombolaError):
    """A trial asks for a device that this machine does not have."""


def prepare(resources: Resources) -> torch.device:
    """Set this process up for trials with `resources` and return their device.

    It gets one thread for each CPU core of the trial, deterministic kernels, and true fp32 instead of TF32.

    Raises:
        DeviceError: if a GPU is asked for and torch can use none.
    """
    if resources.gpus and not torch.cuda.is_available():
        raise DeviceError(f"resources.gpus is {resources.gpus:g}, but this machine has no GPU that torch can use")
    if 0 < resources.gpus < 1:  # trials that share a GPU must not take each other's memory
        torch.cuda.set_per_process_memory_fraction(resources.gpus)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.set_num_threads(resources.cpus)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN only helps to find bugs in kernels, and costs a pass over every tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda" if resources.gpus else "cpu")


def describe(device: torch.device) -> dict[str, str | int]:
    """Describe the machine and the device, for the record of a measurement."""
    return {
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak that `peak_memory` returns.

    On a CPU this writes to /proc/self/clear_refs. Some containers do not allow that. Then nothing is reset, and the
    peak covers the time since the process began.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """The peak of memory use since `reset_peak_memory`, in bytes.

    On a GPU it counts the memory that torch allocated for tensors; on a CPU, the resident memory of the process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        kibibytes = re.search(r"^VmHWM:\s*(\d+) kB", (_PROCESS / "status").read_text(), re.MULTILINE)
    except FileNotFoundError:
        kibibytes = None
    return 1024 * (int(kibibytes[1]) if kibibytes else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
