"""Score the weights of a network with the scorer of a criterion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.parametrize import ParametrizationList

from search_spaces.criterion import Criterion
from workers.masks.scope import CriterionError
from workers.models import NORMS, Family
from workers.pruning import ScoreError, grasp, magnitude, snip, synflow
from workers.randomness import generator, global_generators

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Subject:
    """The weights of a network, by name, and the criterion that scores them.

    `images` (N, C, H, W) in [-1, 1] are the images that the scorer looks at; N is 0 for scores without data. `seed` is
    the seed of latent codes. The network is a copy for scoring only, so a scorer can change the statistics of its
    batch norms.
    """

    family: Family
    parameters: Mapping[str, Tensor]
    by: Criterion
    images: Tensor
    seed: int


Scorer = Callable[[Subject], dict[str, Tensor]]
"""A function that returns the scores of a subject's weights, by their names. The highest scores are kept."""


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
    family, scores = subject.family, dict[str, Tensor]()
    shared = family.shared()
    users = {_component(name) for name, first in shared.items() if first in subject.parameters}
    for component in [c for c in family.bodies if c in users.union(map(_component, subject.parameters))]:
        inputs = subject.images.shape[1:] if family.bodies[component] == "encode" else (family.latent,)
        try:
            found = synflow(family.networks[component], inputs)
        except ScoreError as error:
            raise CriterionError(f"synflow cannot rank the {component}: {error}") from error
        for inner, score in found.items():
            name = f"{component}.{inner}"
            first = shared.get(name, name)
            scores[first] = scores[first] + score if first in scores else score
    return {name: scores[name] for name in subject.parameters}


scorers: dict[str, Scorer] = {"magnitude": _magnitude, "snip": _snip, "grasp": _grasp, "synflow": _synflow}
BUILT_IN = {"scorers": dict(scorers)}
"""The built-in entries of the table that plugins extend."""


def _by_loss(
    scorer: Callable[[Callable[[], Iterator[Tensor]], Mapping[str, Tensor]], dict[str, Tensor]], subject: Subject
) -> dict[str, Tensor]:
    """Score weights by the loss of their own phase or by the joint loss.

    The network is in training mode, so batch norms normalise by the batch.
    """
    family, parameters = subject.family, subject.parameters
    family.networks.train()
    for module in family.networks.modules():
        if isinstance(module, ParametrizationList):
            module.eval()  # otherwise every forward pass changes the spectral norm
    scores: dict[str, Tensor] = {}
    if subject.by.loss == "joint":
        _check_joint(type(family))
        scores = scorer(lambda: _parts(subject, None), parameters)
    else:
        for phase, components in family.phases.items():
            own = {name: weight for name, weight in parameters.items() if _component(name) in components}
            if own:
                scores |= scorer(lambda phase=phase: _parts(subject, phase), own)  # type: ignore[misc]
    _check_ranked(subject.by.score, scores)
    return {name: scores[name] for name in parameters}


def _check_joint(kind: type[Family]) -> None:
    """Refuse a family that has losses of its own beside the joint loss of another."""
    owner = {name: next(each for each in kind.__mro__ if name in vars(each)) for name in ("losses", "joint_loss")}
    losses, joint = owner["losses"], owner["joint_loss"]
    if joint is not Family and losses is not joint and issubclass(losses, joint):
        raise CriterionError(
            f"loss: {kind.__name__} has losses of its own, so joint needs a joint_loss of its own, too"
        )


def _check_ranked(score: str, scores: Mapping[str, Tensor]) -> None:
    """Refuse scores that cannot rank the weights of a component."""
    for component in dict.fromkeys(map(_component, scores)):
        own = [values for name, values in scores.items() if _component(name) == component]
        if not all(values.isfinite().all() for values in own):
            raise CriterionError(f"{score} cannot rank the {component}: a score of its weights is not finite")
        if not any(values.any() for values in own):
            raise CriterionError(f"{score} cannot rank the {component}: the scores of all of its weights are zero")


def _component(name: str) -> str:
    """The component of a tensor."""
    return name.split(".")[0]


def _parts(subject: Subject, phase: str | None) -> Iterator[Tensor]:
    """Yield the loss of one phase, or the joint loss, in chunks of images weighted by their size.

    A network with batch norms gets all images in one chunk, because batch norms normalise by the whole batch.
    """
    family, images = subject.family, subject.images
    normed = any(isinstance(module, NORMS) for module in family.networks.modules())
    noise = generator(subject.seed, "score", device=images.device)
    for number, chunk in enumerate(images.split(len(images) if normed else _CHUNK)):
        with global_generators(subject.seed, "score", number, images.device):
            if phase is None:
                loss = family.joint_loss(chunk, noise)
            else:
                loss = next(loss.value for loss in family.losses(chunk, noise) if loss.phase == phase)
        yield loss * (len(chunk) / len(images))
