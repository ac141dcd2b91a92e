"""Scoring: what each weight of a network is worth, by the scorer that a criterion names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.parametrize import ParametrizationList

from search_spaces.criterion import Criterion
from workers.models import NORMS, Family
from workers.pruning import grasp, magnitude, snip, synflow
from workers.randomness import generator

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """Weights of a network by name, to be scored by a criterion.

    `images` (N, C, H, W) in [-1, 1] are what it looks at, none for scores without data; `seed` is that of latents.
    The network is for scoring alone: its batch norms may see what they see.
    """

    family: Family
    parameters: Mapping[str, Tensor]
    by: Criterion
    images: Tensor
    seed: int


Scorer = Callable[[Subject], dict[str, Tensor]]
"""From a subject to the scores of its weights, by their names; higher means keep."""


def _magnitude(subject: Subject) -> dict[str, Tensor]:
    return magnitude(subject.parameters)


def _snip(subject: Subject) -> dict[str, Tensor]:
    return _by_loss(snip, subject)


def _grasp(subject: Subject) -> dict[str, Tensor]:
    temperature = subject.by.temperature
    assert temperature is not None
    hooks = [
        subject.family.networks[name].register_forward_hook(lambda module, inputs, logits: logits / temperature)
        for name in subject.family.logits
    ]
    scores = _by_loss(grasp, subject)
    for hook in hooks:
        hook.remove()
    return scores


def _synflow(subject: Subject) -> dict[str, Tensor]:
    family, scores = subject.family, list[Tensor]()
    for component, body in family.bodies.items():
        inputs = subject.images.shape[1:] if body == "encode" else (family.latent,)
        scores += synflow(family.networks[component], inputs).values()
    by_name = dict(zip(family.kernels(), scores, strict=True))
    return {name: by_name[name] for name in subject.parameters}


scorers: dict[str, Scorer] = {"magnitude": _magnitude, "snip": _snip, "grasp": _grasp, "synflow": _synflow}


def _by_loss(
    scorer: Callable[[Callable[[], Iterator[Tensor]], Mapping[str, Tensor]], dict[str, Tensor]], subject: Subject
) -> dict[str, Tensor]:
    """Scores by each component's own loss, or by the joint one, in training mode: batch norms see the batch."""
    family, parameters = subject.family, subject.parameters
    family.networks.train()
    for module in family.networks.modules():
        if isinstance(module, ParametrizationList):
            module.eval()  # or spectral norm would be another each time that a loss is computed
    if subject.by.loss == "joint":
        return scorer(lambda: _parts(subject, None), parameters)
    scores: dict[str, Tensor] = {}
    for phase, components in family.phases.items():
        own = {name: weight for name, weight in parameters.items() if name.split(".")[0] in components}
        if own:
            scores |= scorer(lambda phase=phase: _parts(subject, phase), own)  # type: ignore[misc]
    return {name: scores[name] for name in parameters}


def _parts(subject: Subject, phase: str | None) -> Iterator[Tensor]:
    """The loss of one phase, or the joint one, in chunks weighted by their size.

    Batch norms normalise by the whole batch, so a network that has any sees it unchunked.
    """
    family, images = subject.family, subject.images
    normed = any(isinstance(module, NORMS) for module in family.networks.modules())
    noise = generator(subject.seed, "score", device=images.device)
    for chunk in images.split(len(images) if normed else _CHUNK):
        if phase is None:
            loss = family.joint_loss(chunk, noise)
        else:
            loss = next(loss.value for loss in family.losses(chunk, noise) if loss.phase == phase)
        yield loss * (len(chunk) / len(images))
