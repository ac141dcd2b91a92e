"""Instruments: the networks that evaluation looks through, read from a store once a process."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.trial import Distances
from workers import names
from workers.evaluation import classifiers
from workers.evaluation.extractors import EffNet, Extractor, ExtractorError, Inception, state_dict_of
from workers.evaluation.feature_set import FeatureSet
from workers.feature_spaces import SPACES
from workers.objects import Objects
from workers.store import Store, open_store
from workers.training import normalised


def extractor(store: Store, distances: Distances, device: torch.device) -> Extractor:
    """The network that distances are measured in the features of.

    Raises:
        ExtractorError: if its weights are gone from the store.
    """
    assert distances.weights is not None
    return _extractor(store.uri, distances.features, distances.weights, device)


@lru_cache(maxsize=1)
def _extractor(store_uri: str, features: str, weights: str, device: torch.device) -> Extractor:
    objects = Objects(open_store(store_uri))
    if features == "fashion":
        return Penultimate(_classifier(store_uri, weights, "fashion", 1, device))
    state = state_dict_of(_needed(objects, names.weights(weights), f"the weights of {features}"))
    return Inception(state, device, SPACES["inception"].layer) if features == "inception" else EffNet(state, device)


def classifier(store: Store, key: str, network: str, channels: int, device: torch.device) -> nn.Module:
    """A classifier that a stage has trained.

    Raises:
        ExtractorError: if it is gone from the store.
    """
    return _classifier(store.uri, key, network, channels, device)


@lru_cache(maxsize=2)
def _classifier(store_uri: str, key: str, network: str, channels: int, device: torch.device) -> nn.Module:
    payload = _needed(Objects(open_store(store_uri)), names.classifier(key), f"the classifier {network!r}")
    return classifiers.unpack(payload, network, channels, device)


def real_features(store: Store, key: str) -> FeatureSet:
    """The features of real images that a stage has taken.

    Raises:
        ExtractorError: if they are gone from the store.
    """
    return _real_features(store.uri, key)


@lru_cache(maxsize=2)
def _real_features(store_uri: str, key: str) -> FeatureSet:
    payload = _needed(Objects(open_store(store_uri)), names.features(key), "the features of real images")
    return FeatureSet.unpack(payload)


class Penultimate:
    """The features of a small classifier before its last layer."""

    def __init__(self, classifier: nn.Module) -> None:
        assert isinstance(classifier, classifiers.SmallNet)
        self._classifier = classifier

    def __call__(self, images: Tensor) -> Tensor:
        """Of uint8 images (N, 1, H, W), seen at 32x32: (N, 48)."""
        seen = normalised(images)
        if seen.shape[-1] != 32:
            seen = F.interpolate(seen, (32, 32), mode="bilinear", antialias=True)
        return self._classifier.features(seen)


def _needed(objects: Objects, name: str, what: str) -> bytes:
    payload = objects.read(name)
    if payload is None:
        raise ExtractorError(f"{what}: {name} is gone from store {objects.store.uri}; run the sweep again")
    return payload
