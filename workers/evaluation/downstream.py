"""Downstream accuracy: whether a classifier still recognises the reconstructions of images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from workers.evaluation.batches import SIZE
from workers.models.families import VAE, Autoencoder


@dataclass(frozen=True, slots=True)
class Judge:
    """A classifier of the data set, in evaluation mode, and the labels (N,) of the images that are evaluated."""

    classifier: nn.Module
    labels: Tensor


def downstream_accuracy(family: Autoencoder | VAE, images: Tensor, judge: Judge) -> dict[str, float]:
    """The fraction of reconstructions that the judge classifies right, and that of the images themselves.

    `images` are (N, C, H, W) in [-1, 1].
    """
    restored, real = 0, 0
    for batch, truth in zip(images.split(SIZE), judge.labels.split(SIZE), strict=True):
        restored += int((judge.classifier(family.reconstruct(batch)).argmax(1) == truth).sum())
        real += int((judge.classifier(batch).argmax(1) == truth).sum())
    return {"downstream_accuracy": restored / len(images), "downstream_accuracy_real": real / len(images)}
