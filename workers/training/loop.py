"""The training loop of all models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from search_spaces.trial import Decay, Recipe
from workers.endings import Diverged
from workers.lab.references import AS_THE_RECIPE, Steps
from workers.masks import Mask
from workers.models import NORMS, Family
from workers.models.images import normalised
from workers.randomness import generator, global_generators


@dataclass(frozen=True, slots=True)
class Epoch:
    """A finished epoch: its number, from 1, and the mean of every logged quantity over its updates."""

    number: int
    means: Mapping[str, float]


def train(
    family: Family,
    optimizers: Mapping[str, torch.optim.Optimizer],
    mask: Mask | None,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    begin: int,
    end: int,
    steps: Steps = AS_THE_RECIPE,
) -> Iterator[Epoch]:
    """Train on `images` (N, C, H, W), uint8 on the device, from the end of epoch `begin` to that of `end`.

    The iterator yields after every epoch; the caller can then read weights and moments. Masked weights are zero
    before the first step and after every update. `steps` says how the steps differ from the recipe. Steps count from
    epoch 0, so the steps in which a loss is due do not depend on the epoch at which training begins.

    Raises:
        Diverged: at the end of an epoch in which a loss or weight became NaN or infinite.
    """
    masks = {phase: _Masking(family, family.parameters_of(phase), mask) for phase in optimizers}
    copies = [p for copy in family.copies for p in family.networks[copy].parameters()]
    for masking in (*masks.values(), _Masking(family, copies, mask)):
        masking.apply()
    family.networks.train()
    for epoch in range(begin, end):
        for optimizer in optimizers.values():
            _set_rates(optimizer, _decayed(recipe.decay, epoch - steps.lag))
        noise = generator(seed, "noise", epoch, images.device)
        sums: dict[str, Tensor] = {}
        updates: Counter[str] = Counter()
        batches = _batches(len(images), recipe.batch, seed, epoch, images.device)
        with global_generators(seed, "layers", epoch, images.device):
            for step, indices in enumerate(batches, start=epoch * len(batches)):
                for loss in islice(family.losses(normalised(images[indices]), noise), family.due(step)):
                    optimizer = optimizers[loss.phase]
                    optimizer.zero_grad()
                    value = loss.value + steps.l1 * _scales(family, loss.phase) if steps.l1 else loss.value
                    value.backward(inputs=masks[loss.phase].parameters)
                    optimizer.step()
                    masks[loss.phase].apply()
                    family.updated(loss.phase)
                    updates.update(loss.parts.keys())
                    for name, part in loss.parts.items():
                        sums[name] = sums.get(name, 0) + part.detach()
        means = {name: float(total) / updates[name] for name, total in sums.items()}
        _check_finite(family, means, epoch + 1)
        yield Epoch(epoch + 1, means)


def optimizers_of(family: Family, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """A fused Adam or AdamW optimizer for every phase of the family."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    rates = {"discriminator": recipe.lr_discriminator or recipe.lr}
    return {
        phase: kind(
            family.parameters_of(phase),
            lr=rates.get(phase, recipe.lr),
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        for phase in family.phases
    }


def _decayed(decay: Decay | None, epoch: int) -> float:
    """The factor of the learning rate after `epoch` epochs of decay (Loshchilov and Hutter 2017, eq. 5)."""
    if decay is None:
        return 1.0
    return decay.to + (1 - decay.to) * (1 + math.cos(math.pi * min(epoch / decay.epochs, 1))) / 2


def _set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


def scales_of(network: nn.Module) -> list[Tensor]:
    """The scales of a network's batch norms; norms without scales are left out."""
    return [norm.weight for norm in network.modules() if isinstance(norm, NORMS) and norm.affine]


def _scales(family: Family, phase: str) -> Tensor:
    """The sum of the absolute scales of all batch norms in the components of a phase, for the L1 penalty."""
    scales = [
        scale.abs().sum() for component in family.phases[phase] for scale in scales_of(family.networks[component])
    ]
    return torch.stack(scales).sum() if scales else torch.zeros(())


class _Masking:
    """Sets the masked weights among `parameters` to zero, with one fused multiplication."""

    def __init__(self, family: Family, parameters: Sequence[Tensor], mask: Mask | None) -> None:
        self.parameters = parameters
        own, kept = set(parameters), {} if mask is None else family.masked(mask)
        masked = {name: p for name, p in family.networks.named_parameters() if name in kept and p in own}
        self._weights = [p.detach() for p in masked.values()]
        self._factors = [torch.empty_like(p).copy_(kept[name]) for name, p in masked.items()]

    def apply(self) -> None:
        if self._weights:
            torch._foreach_mul_(self._weights, self._factors)


def _batches(count: int, size: int, seed: int, epoch: int, device: torch.device) -> list[Tensor]:
    """The indices of the batches of one epoch, in the order of that epoch. An incomplete last batch is left out."""
    order = torch.randperm(count, generator=generator(seed, "order", epoch))
    return list(order[: count - count % size].to(device).split(size))


def _check_finite(family: Family, means: Mapping[str, float], epoch: int) -> None:
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise Diverged(f"{name} was {mean} in epoch {epoch}", epoch)
    for name, tensor in family.networks.state_dict().items():
        if not tensor.isfinite().all():
            raise Diverged(f"{name} was not finite after epoch {epoch}", epoch)
