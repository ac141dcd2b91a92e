"""Keys: SHA-256 digests that identify the results of verbs."""

from __future__ import annotations

from typing import Any

from search_spaces.base.canonical import digest
from workers.data import DatasetCard
from workers.lab.references import Giver

VERSIONS = {
    "initial": 1,
    "train": 1,
    "prune": 3,
    "channels": 2,
    "emerge": 1,
    "shuffle_layer": 1,
    "shuffle_filter": 1,
    "random_global": 1,
    "erk": 1,
    "random_channels": 1,
    "move": 1,
    "graft": 1,
    "fit": 1,
    "features": 1,
    "evaluate": 2,
    "select": 1,
}
"""The version of what each verb computes. A change of meaning raises it, and so changes all keys that depend on it."""


def key_of(verb: str, **made_of: Any) -> str:
    """The key of a verb's result: the SHA-256 of the canonical JSON of the verb, its version and its inputs."""
    return digest({"verb": verb, "version": VERSIONS[verb], **made_of})


def digest_of_giver(giver: Giver) -> str:
    return digest({"model": giver.model.model_dump(), "image": giver.image, "code": giver.code})


def classifier_key(network: str, card: DatasetCard) -> str:
    """The key of a classifier that is trained on the labelled data set of `card`."""
    return key_of("fit", network=network, data=card.fingerprint, labels=card.labels)
