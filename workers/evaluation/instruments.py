"""Instruments: the networks and real features that evaluation measures with, read from a store and kept in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.trial import Distances
from workers.evaluation import classifiers
from workers.evaluation.extractors import EffNet, Extractor, ExtractorError, Inception, state_dict_of
from workers.evaluation.feature_set import FeatureSet
from workers.measures.feature_spaces import SPACES
from workers.models.images import normalised
from workers.store import names
from workers.store.backends import Store, open_store
from workers.store.objects import Objects

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """A network that computes features, and the SHA-256 of its weights."""

    extractor: Extractor
    sha256: str


def network(store: Store, distances: Distances, device: torch.device) -> Network:
    """The network in whose features distances are measured.

    Raises:
        ExtractorError: if its weights are gone from the store, or the network cannot be built from them.
    """
    assert distances.weights is not None
    return _network(store.uri, distances.features, distances.weights, device)


def _fashion(payload: bytes) -> tuple[nn.Module, str]:
    """The classifier of Fashion-MNIST, and the SHA-256 of its weights."""
    return classifiers.unpack(payload, "fashion", 1), hashlib.sha256(payload).hexdigest()


@lru_cache(maxsize=1)
def _network(store_uri: str, features: str, weights: str, device: torch.device) -> Network:
    objects = Objects(open_store(store_uri))
    if features == "fashion":
        name, what = names.classifier(weights), "the classifier 'fashion'"
        small, sha256 = _needed(objects, name, what, _fashion)
        return Network(Penultimate(small.to(device)), sha256)
    state = _needed(objects, names.weights(weights), f"the weights of {features}", state_dict_of)
    inception = features == "inception"
    made = Inception(state, device, SPACES["inception"].layer) if inception else EffNet(state, device)
    return Network(made, weights)


def classifier(store: Store, key: str, network: str, channels: int, device: torch.device) -> nn.Module:
    """The classifier that the stage `key` has trained, on `device`.

    Raises:
        ExtractorError: if it is gone from the store.
    """
    return _classifier(store.uri, key, network, channels, device)


@lru_cache(maxsize=2)
def _classifier(store_uri: str, key: str, network: str, channels: int, device: torch.device) -> nn.Module:
    return _needed(
        Objects(open_store(store_uri)),
        names.classifier(key),
        f"the classifier {network!r}",
        lambda payload: classifiers.unpack(payload, network, channels),
    ).to(device)


def real_features(store: Store, key: str) -> FeatureSet | None:
    """The features of real images that the stage `key` has stored, or None if there are none."""
    if (store.uri, key) not in _real:
        found = Objects(store).parsed(names.features(key), FeatureSet.unpack)
        if found is None:
            return None
        while len(_real) >= _KEPT:
            del _real[next(iter(_real))]
        _real[store.uri, key] = found
    return _real[store.uri, key]


def forget_features(store: Store, key: str) -> None:
    """Remove features of real images from the store and from memory, because the network's weights have changed."""
    _real.pop((store.uri, key), None)
    store.delete(names.features(key))


_KEPT = 2
"""The most feature sets in memory: one for the reported distances, one for the selection of an epoch."""
_real: dict[tuple[str, str], FeatureSet] = {}


class Penultimate:
    """An extractor of the features before the last layer of a small classifier."""

    def __init__(self, classifier: nn.Module) -> None:
        assert isinstance(classifier, classifiers.SmallNet)
        self._classifier = classifier

    def __call__(self, images: Tensor) -> Tensor:
        """Features (N, 48) of uint8 images (N, 1, H, W), resized to 32x32."""
        seen = normalised(images)
        if seen.shape[-1] != 32:
            seen = F.interpolate(seen, (32, 32), mode="bilinear", antialias=True)
        return self._classifier.features(seen)


def _needed(objects: Objects, name: str, what: str, parse: Callable[[bytes], T]) -> T:
    found = objects.parsed(name, parse)
    if found is None:
        raise ExtractorError(
            f"{what}: {name} is gone from store {objects.store.uri}; resume the sweep to have it again"
        )
    return found
