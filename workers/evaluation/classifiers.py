"""Classifiers: networks that are trained once on labelled images and then used to measure models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from search_spaces.errors import TombolaError, first_line
from workers.data import DatasetCard
from workers.models import draw_weights
from workers.models.images import normalised
from workers.models.layers.constructing import constructing
from workers.randomness import generator


class ClassifierError(TombolaError):
    """A classifier is not accurate enough to be used."""


@dataclass(frozen=True, slots=True)
class Schooling:
    """How a classifier is built and trained, by AdamW with a one-cycle learning rate, and the accuracy it must reach.

    `build` takes the number of channels and the number of classes.
    """

    build: Callable[[int, int], nn.Module]
    epochs: int
    batch: int
    lr: float
    accuracy: float


class SmallNet(nn.Module):
    """Four convolutions and a linear layer, 40,000 parameters; `features` are the 48 inputs of the linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(channels, 16, 4, 2), _block(16, 32, 3, 2), _block(32, 48, 3, 1), _block(48, 48, 3, 2)
        )
        self.head = nn.Linear(48, classes)

    def features(self, images: Tensor) -> Tensor:
        """Features (N, 48) of images (N, C, 32, 32) in [-1, 1]."""
        found: Tensor = self.body(images)
        return found.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _resnet18(channels: int, classes: int) -> nn.Module:
    """ResNet-18 (He et al. 2016) with a first convolution for small images: 3x3, stride 1."""
    network: nn.Module = resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    return network


SCHOOLINGS: Mapping[str, Schooling] = {
    "fashion": Schooling(SmallNet, epochs=5, batch=128, lr=5e-3, accuracy=0.9),
    "resnet18": Schooling(_resnet18, epochs=5, batch=128, lr=1e-3, accuracy=0.0),
}


def untrained(network: str, card: DatasetCard, device: torch.device) -> nn.Module:
    """An untrained classifier for the classes of a data set; its first weights are always the same."""
    with constructing(0):
        made = SCHOOLINGS[network].build(card.image[0], card.classes)
    draw_weights(made, lambda name: generator(0, f"classifier:{name}"))
    return made.to(device).to(memory_format=torch.channels_last)


def fit(network: str, classifier: nn.Module, images: Tensor, labels: Tensor) -> Iterator[int]:
    """Train on uint8 images and their labels, all on one device; yield the number of each finished epoch, from 1."""
    schooling = SCHOOLINGS[network]
    steps = max(1, len(images) // schooling.batch)
    optimizer = torch.optim.AdamW(classifier.parameters(), schooling.lr, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, schooling.lr, total_steps=schooling.epochs * steps)
    for epoch in range(schooling.epochs):
        classifier.train()
        order = torch.randperm(len(images), generator=generator(0, "classifier", epoch)).to(images.device)
        for indices in order.split(schooling.batch)[:steps]:
            loss = F.cross_entropy(classifier(normalised(images[indices])), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        yield epoch + 1


def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The fraction of uint8 images that a classifier classifies right, in evaluation mode."""
    classifier.eval()
    with torch.no_grad():
        right = [
            (classifier(normalised(batch)).argmax(1) == truth).sum()
            for batch, truth in zip(images.split(500), labels.split(500), strict=True)
        ]
    return int(torch.stack(right).sum()) / len(images)


def check(network: str, reached: float) -> None:
    """Raise ClassifierError if a classifier's accuracy on held-out images is below that of its schooling."""
    if reached < SCHOOLINGS[network].accuracy:
        raise ClassifierError(
            f"the classifier {network!r} tells {reached:.1%} of held-out images right, which is below "
            f"{SCHOOLINGS[network].accuracy:.0%}"
        )


def pack(classifier: nn.Module) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in classifier.state_dict().items()})


def unpack(payload: bytes, network: str, channels: int) -> nn.Module:
    """The classifier that `pack` wrote, on the CPU, in evaluation mode.

    Raises:
        ValueError: if the payload holds another network.
    """
    state = load(payload)
    classes = next((len(state[name]) for name in ("head.bias", "fc.bias") if name in state), 0)
    with torch.device("meta"):
        made = SCHOOLINGS[network].build(channels, classes)
    try:
        made.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"it is no {network}: {first_line(error)}") from error
    made.requires_grad_(False)
    return made.to(memory_format=torch.channels_last).eval()
