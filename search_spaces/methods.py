"""The ticket finders and controls that a sweep can name, and their options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from search_spaces.sparsity import GRID_RATE
from search_spaces.spec import NamedSpec, Registry


class Method(NamedSpec):
    """A search program: what it makes of a trial is a ticket, a start state and a mask."""

    @property
    def sparse(self) -> bool:
        """Whether the method takes a sparsity; one that does not is tried once, at sparsity 0."""
        return True

    def rewound(self, rewind: int) -> Method:
        """The method with the sweep's rewind epoch wherever its own is left open."""
        return self


methods: Registry[Method] = Registry("method", Method)
AnyMethod = Annotated[SerializeAsAny[Method], BeforeValidator(methods.parse)]


class Finder(Method):
    """A method that finds a mask. `rewind` is the epoch that tickets start from; left out, the sweep's."""

    rewind: int | None = Field(default=None, ge=0)

    def rewound(self, rewind: int) -> Method:
        return self if self.rewind is not None else self.model_copy(update={"rewind": rewind})


def _finder(value: object) -> Finder:
    method = methods.parse(value)
    if not isinstance(method, Finder):
        raise ValueError(f"{method.name!r} does not find a mask; a control is applied to a finder such as 'imp'")
    return method


class Control(Method):
    """What a ticket is compared with: a change made to the ticket that the finder `of` returns."""

    of: Annotated[SerializeAsAny[Finder], BeforeValidator(_finder), Field(validate_default=True)] = Field(
        default_factory=lambda: IMP()
    )

    def rewound(self, rewind: int) -> Method:
        return self.model_copy(update={"of": self.of.rewound(rewind)})


@methods.register
class Dense(Method):
    """The whole network, trained from its initialisation."""

    name: Literal["dense"] = "dense"

    @property
    def sparse(self) -> bool:
        return False


@methods.register
class IMP(Finder):
    """Iterative magnitude pruning with rewinding (Frankle et al. 2020); a round removes `rate` of what is left."""

    name: Literal["imp"] = "imp"
    rate: float = Field(default=GRID_RATE, ge=0.001, lt=1)


@methods.register
class OneShot(Finder):
    """Magnitude pruning to the target in a single round."""

    name: Literal["one_shot"] = "one_shot"


@methods.register
class Reinit(Control):
    """The finder's mask on a fresh initialisation: the paper's random ticket."""

    name: Literal["reinit"] = "reinit"


@methods.register
class ShuffleLayer(Control):
    """The finder's start state with its mask shuffled within each layer, so that only layer densities remain."""

    name: Literal["shuffle_layer"] = "shuffle_layer"
