"""Move masks and weights from one model to another, by role."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from search_spaces.errors import TombolaError
from workers.masks import Mask
from workers.models import Family
from workers.models.state import Snapshot, tensor_of


class MoveError(TombolaError):
    """Two models have no kernel with the same role and shape."""


def move_mask(mask: Mask, giver: Family, taker: Family, bodies: Collection[str]) -> Mask:
    """Move the part of a mask that covers `bodies` from the giver to the taker.

    The result covers the kernels of the taker that have a counterpart in the giver. A kernel is dense if `mask` does
    not cover its counterpart.

    Raises:
        MoveError: if no kernel has a counterpart.
    """
    there = counterparts(giver, taker, bodies)
    kernels = {name: there[name] for name in taker.kernels() if name in there}
    dense = Mask.dense({name: taker.prunable()[name] for name in kernels})
    return Mask({name: mask[other] if other in mask else dense[name] for name, other in kernels.items()})


def graft(source: Snapshot, onto: Snapshot, giver: Family, taker: Family, bodies: Collection[str]) -> dict[str, Tensor]:
    """Copy tensors from the giver's state `source` into the taker's state `onto`, for tensors with a counterpart.

    Copied parameters have no optimizer moments. Moments from another loss have another scale, so training would take
    steps of the wrong size until the optimizer forgets them.

    Raises:
        MoveError: if no kernel has a counterpart.
    """
    there = counterparts(giver, taker, bodies)
    own = {name: tensor for name, tensor in onto.items() if tensor_of(name) not in there}
    # clones, because two tensors can have one source, and stored tensors must not share memory
    grafted = own | {name: source[other].clone() for name, other in there.items()}
    return grafted | {name: grafted[first].clone() for name, first in taker.shared().items()}


def counterparts(giver: Family, taker: Family, bodies: Collection[str]) -> dict[str, str]:
    """Match the tensors of `bodies` by role and shape: names in the taker to names in the giver.

    Raises:
        MoveError: if no kernel has a counterpart.
    """
    given = {giver.role(name): name for name in _in(giver, bodies)}
    shapes = {name: tensor.shape for name, tensor in giver.networks.state_dict().items()}
    own = {name: tensor.shape for name, tensor in taker.networks.state_dict().items()}
    copies = [name for name in own if name.split(".")[0] in taker.copies]
    there = {
        name: other
        for name in (*_in(taker, bodies), *(n for n in copies if _body(taker, n) in bodies))
        if (other := given.get(taker.role(name))) is not None and shapes[other] == own[name]
    }
    if not any(name in there for name in taker.kernels()):
        raise MoveError(
            f"nothing can move: no kernel has the same role and shape in both models; the source has "
            f"{_listed(giver, bodies)}, the target {_listed(taker, bodies)}"
        )
    return there


def _in(family: Family, bodies: Collection[str]) -> list[str]:
    """The names of the tensors in `bodies`."""
    return [n for n in family.networks.state_dict() if family.bodies.get(n.split(".")[0]) in bodies]


def _body(family: Family, name: str) -> str:
    component = name.split(".")[0]
    return family.bodies[family.copies.get(component, component)]


def _listed(family: Family, bodies: Collection[str]) -> str:
    kernels = {n: tuple(w.shape) for n, w in family.prunable().items() if _body(family, n) in bodies}
    return ", ".join(f"{family.role(name)} {'x'.join(map(str, shape))}" for name, shape in kernels.items())
