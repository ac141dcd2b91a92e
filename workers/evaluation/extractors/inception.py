"""The Inception network that defines FID and the Inception Score."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from workers.evaluation.extractors.state import fitting


class Inception:
    """The activations of a layer of Inception v3, averaged over space, as torch-fidelity computes them.

    The name of a layer is its number of channels: "64", "192", "768" or "2048". Images are resized to 299 x 299 as
    in TensorFlow 1. FID uses the layer "2048" (Heusel et al. 2017); a lower layer costs less.
    """

    def __init__(
        self, state: Mapping[str, Tensor], device: torch.device, layer: str = "2048", logits: bool = True
    ) -> None:
        """Make the network on `device`; without `logits` it stops after the layer.

        Raises:
            ExtractorError: if `state` does not fit Inception.
        """
        # torch-fidelity unpickles the file, which can run code; so it gets a file that is written here.
        file = io.BytesIO()
        torch.save(dict(state), file)
        file.seek(0)
        outputs = [layer, "logits_unbiased"] if logits else [layer]
        with torch.random.fork_rng(devices=[]), fitting("Inception"):
            network = FeatureExtractorInceptionV3("inception", outputs, feature_extractor_weights_path=file)
        self._network = network.to(device, memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, D) in float32 of uint8 images (N, 1 or 3, H, W); D is the number of channels of the layer."""
        return self._outputs(images)[0]

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D) and logits (N, 1008) from one pass; only for an extractor that was made with `logits`.

        The logits are without their bias, as in the Inception Score that torch-fidelity and others report.
        """
        features, logits = self._outputs(images)
        return features, logits

    def _outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self._network(images.expand(-1, 3, -1, -1))
        return outputs
