"""What tests of workers share."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Unloaded(FeatureExtractorInceptionV3):
    """Inception as it is before torch-fidelity loads weights into it."""

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        pass


@pytest.fixture(scope="session")
def inception_weights() -> bytes:
    """A file of weights for Inception that are random, yet keep activations alive through all its layers."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Unloaded("inception", ["64"], feature_extractor_weights_path=empty).state_dict()
    file = io.BytesIO()
    torch.save({name: tensor * 6**0.5 if ".conv." in name else tensor for name, tensor in state.items()}, file)
    return file.getvalue()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads have nothing to share in networks so small, and would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
