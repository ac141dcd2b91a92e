"""The state of a pretrained network: tensors by name, from a file that cannot be trusted."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

import torch
from torch import Tensor

from workers.evaluation.extractors.extractor import ExtractorError

_UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch.load raises for bytes that are damaged or are not weights; which one depends on where loading fails."""


def state_dict_of(payload: bytes) -> dict[str, Tensor]:
    """Read the tensors from the bytes of a file of weights, on the CPU. Code in the bytes is not run.

    Raises:
        ExtractorError: if the bytes are not a flat dictionary of tensors.
    """
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ExtractorError(
            f"these bytes are not weights: they are damaged or hold more than tensors ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise ExtractorError("these bytes are not weights: they hold something else than a dictionary of tensors")
    return dict(state)


@contextmanager
def fitting(network: str) -> Iterator[None]:
    """Shorten torch's long message about a state that does not fit the network to one sentence.

    Raises:
        ExtractorError: if a tensor is missing, unexpected or of another shape.
    """
    try:
        yield
    except RuntimeError as error:
        complaint = str(error).partition("\n")[2] or str(error)
        raise ExtractorError(
            f"these weights are not those of {network}: {shorten(complaint, 100, placeholder=' ...')}"
        ) from error
