"""Feature sets: the features that a network computes for a set of images, with their mean and covariance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from workers.evaluation.extractors import Extractor, Inception

_CPU_BATCH = 10
"""Images in a batch on a CPU. It is small, so that the feature maps fit into the caches."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features (N, D) of images in fp32, and their mean (D,) and covariance (D, D) in float64; all on the CPU.

    `logits` (N, K) exist only for Inception; the Inception Score needs them. `network` is the SHA-256 of the weights
    of the network that computed the features.
    """

    values: Tensor
    mean: Tensor
    covariance: Tensor
    logits: Tensor | None = None
    network: str = ""

    def pack(self) -> bytes:
        tensors = {"values": self.values, "mean": self.mean, "covariance": self.covariance}
        tensors["network"] = torch.tensor(list(bytes.fromhex(self.network)), dtype=torch.uint8)
        return save(tensors if self.logits is None else {**tensors, "logits": self.logits})

    @classmethod
    def unpack(cls, payload: bytes) -> FeatureSet:
        tensors = load(payload)
        network = bytes(tensors.pop("network").tolist()).hex()
        return cls(**tensors, network=network)


class Moments:
    """Mean and covariance of features that come in batches, in float64 (Chan, Golub and LeVeque 1983, eq. 1.5)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None

    def add(self, features: Tensor) -> None:
        """Add features (N, D), on any device."""
        batch = features.double()
        mean = batch.mean(0)
        centred = batch - mean
        scatter = centred.T @ centred
        if self._mean is None or self._scatter is None:
            self._mean, self._scatter = mean, scatter
        else:
            ahead = len(batch) / (self._count + len(batch))
            shift = mean - self._mean
            self._mean = self._mean + shift * ahead
            self._scatter = self._scatter + scatter + torch.outer(shift, shift) * (self._count * ahead)
        self._count += len(batch)

    @property
    def mean(self) -> Tensor:
        assert self._mean is not None, "no features were added"
        return self._mean.cpu()

    @property
    def covariance(self) -> Tensor:
        """The unbiased estimate, divided by N - 1."""
        assert self._scatter is not None, "no features were added"
        return self._scatter.cpu() / (self._count - 1)


def feature_set(batches: Iterable[Tensor], extractor: Extractor) -> FeatureSet:
    """Compute the feature set of images, given as batches of uint8 (N, C, H, W) on the extractor's device."""
    moments, values, logits = Moments(), [], []
    with torch.no_grad():
        for batch in batches:
            for piece in batch.split(_CPU_BATCH if batch.device.type == "cpu" else len(batch)):
                if isinstance(extractor, Inception):
                    features, classes = extractor.features_and_logits(piece)
                    logits.append(classes)
                else:
                    features = extractor(piece)
                moments.add(features)
                values.append(features)
    return FeatureSet(
        torch.cat(values).cpu(), moments.mean, moments.covariance, torch.cat(logits).cpu() if logits else None
    )
