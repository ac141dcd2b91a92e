"""The methods that a sweep can name: finders with their options, and the base of controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from search_spaces.base.registry import NamedSpec, Registry
from search_spaces.base.sparsity import GRID_RATE
from search_spaces.criterion import Channels, Criterion, Scope
from search_spaces.models import ModelSpec


class Method(NamedSpec):
    """A way to get the ticket of a trial."""

    @property
    def sparse(self) -> bool:
        """Whether the method takes a sparsity. A method without one has a single trial per seed, at sparsity 0."""
        return True

    def rewound(self, rewind: int) -> Method:
        """Return the method with the sweep's rewind epoch, if its own is left open."""
        return self

    def sourced(self, trial_of: Callable[[Mapping[str, Any]], Any]) -> Method:
        """Return the method with its source trial filled in, if it takes its ticket from another trial.

        `trial_of` returns the trial that differs from the current one in the given fields.
        """
        return self

    def check(self, epochs: int) -> None:
        """Raise ValueError if the method leaves nothing to train in this number of epochs."""

    def check_model(self, model: ModelSpec) -> None:
        """Raise ValueError if the method does not apply to this model."""


methods: Registry[Method] = Registry("method", Method)
AnyMethod = Annotated[SerializeAsAny[Method], BeforeValidator(methods.parse)]


class Finder(Method):
    """A method that finds a mask.

    `rewind` is the epoch that tickets start from; the default is the sweep's. `scope` says what is pruned and ranked
    together; the default is all components in one ranking. `optimizer` is the optimizer of training from a ticket's
    start state, also in the rounds of a search: `fresh`, or `rewound` to the moments of that state. `searches` says
    whether the finder looks for the mask in the trial's own model.
    """

    searches: ClassVar[bool] = True

    rewind: int | None = Field(default=None, ge=0)
    scope: Scope | None = None
    optimizer: Literal["fresh", "rewound"] = "fresh"
    _keep: Literal["worst"] | None = None

    @field_validator("scope", mode="after")
    @classmethod
    def _one_way_to_say_it(cls, scope: Scope | None) -> Scope | None:
        return None if scope == Scope() else scope

    @property
    def criterion(self) -> Criterion:
        """The criterion by which it chooses the weights to keep."""
        return Criterion(score="magnitude", scope=self.scope, keep=self._keep)

    def inverted(self) -> Self:
        """Return the same search, except that it keeps the weights with the worst scores."""
        other = self.model_copy()
        other._keep = "worst"
        return other

    def rewound(self, rewind: int) -> Method:
        return self if self.rewind is not None else self.model_copy(update={"rewind": rewind})

    def check(self, epochs: int) -> None:
        if self.rewind is not None and self.rewind >= epochs:
            raise ValueError(
                f"rewind: epoch {self.rewind} of method {self.name!r} leaves nothing to train; "
                f"it must be below epochs ({epochs})"
            )

    def check_model(self, model: ModelSpec) -> None:
        if self.scope:
            model.check_components(self.scope.components)


def _finder(value: object) -> Finder:
    method = methods.parse(value)
    if not isinstance(method, Finder):
        raise ValueError(f"{method.name!r} does not find a mask; a control is applied to a finder such as 'imp'")
    return method


AnyFinder = Annotated[SerializeAsAny[Finder], BeforeValidator(_finder)]


class Control(Method):
    """A method that changes the ticket of the finder `of`, for comparison with the original ticket."""

    of: AnyFinder = Field(default_factory=lambda: IMP(), validate_default=True)

    def rewound(self, rewind: int) -> Method:
        return self.model_copy(update={"of": self.of.rewound(rewind)})

    def sourced(self, trial_of: Callable[[Mapping[str, Any]], Any]) -> Method:
        of = self.of.sourced(trial_of)
        return self if of is self.of else self.model_copy(update={"of": of})

    def check(self, epochs: int) -> None:
        self.of.check(epochs)

    def check_model(self, model: ModelSpec) -> None:
        self.of.check_model(model)


@methods.register
class Dense(Method):
    """The whole network, trained from its initialisation."""

    name: Literal["dense"] = "dense"

    @property
    def sparse(self) -> bool:
        return False


@methods.register
class IMP(Finder):
    """Iterative magnitude pruning with rewinding (Frankle et al. 2020). A round removes `rate` of what is left."""

    name: Literal["imp"] = "imp"
    rate: float = Field(default=GRID_RATE, ge=0.01, lt=1)


@methods.register
class OneShot(Finder):
    """Magnitude pruning to the target in a single round."""

    name: Literal["one_shot"] = "one_shot"


class Foresight(Finder):
    """A finder that prunes before training: at initialisation, or at epoch `rewind`."""

    rewind: int | None = Field(default=0, ge=0)


@methods.register
class Magnitude(Foresight):
    """A finder that keeps the largest weights of the state that the ticket starts from."""

    name: Literal["magnitude"] = "magnitude"


class Sensitivity(Foresight):
    """A finder that scores weights by the loss on `images` training images, in `iterations` steps.

    `loss: own` scores each component by the loss that trains it; `joint` scores all components by the sum of losses.
    """

    iterations: int = Field(default=1, gt=0, le=1000)
    images: int = Field(default=100, gt=1)
    loss: Literal["own", "joint"] = "own"

    @property
    def criterion(self) -> Criterion:
        options = {name: getattr(self, name) for name in ("scope", "iterations", "images", "loss")}
        return Criterion(score=self.name, keep=self._keep, **options)


@methods.register
class SNIP(Sensitivity):
    """A finder that scores a weight by how much removing it changes the loss, to first order (Lee et al. 2019)."""

    name: Literal["snip"] = "snip"


@methods.register
class GraSP(Sensitivity):
    """A finder that scores a weight by how much removing it reduces the gradient flow (Wang et al. 2020).

    `temperature` divides the logits of a loss, if it has any.
    """

    name: Literal["grasp"] = "grasp"
    temperature: float = Field(default=200.0, gt=0)

    @property
    def criterion(self) -> Criterion:
        return super().criterion.model_copy(update={"temperature": self.temperature})


@methods.register
class SynFlow(Foresight):
    """A finder that scores a weight by its synaptic flow, without data (Tanaka et al. 2020)."""

    name: Literal["synflow"] = "synflow"
    iterations: int = Field(default=100, gt=0, le=1000)

    @property
    def criterion(self) -> Criterion:
        return Criterion(score="synflow", scope=self.scope, keep=self._keep, iterations=self.iterations)


class ChannelFinder(Finder):
    """A finder of masks that remove whole channels, by the scales of batch norms, or weights with `masks: weights`.

    `round_to`, `minimum` and `fallback` are options of `Channels`. `l1` is the weight of an L1 penalty on the scales
    during the search for the mask (Liu et al. 2017).
    """

    masks: Literal["channels", "weights"] = "channels"
    round_to: Literal[8, 16] | None = None
    minimum: int = Field(default=1, gt=0)
    fallback: Literal["filter_norm"] | None = None
    l1: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _of_channels_alone(self) -> Self:
        for name in ("round_to", "minimum", "fallback"):
            if self.masks == "weights" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is of masks of channels, and masks says weights")
        return self

    @property
    def criterion(self) -> Criterion:
        if self.masks == "weights":
            return super().criterion
        channels = Channels(round_to=self.round_to, minimum=self.minimum, fallback=self.fallback)
        return Criterion(score="gamma", scope=self.scope, keep=self._keep, channels=channels)


@methods.register
class EarlyBird(ChannelFinder):
    """A finder that takes the mask of the epoch at which masks emerge (You et al. 2020).

    That is the first epoch where the newest of the last `look_back` masks differs from each other one on a share of at
    most `delta`. The ticket starts from the state of that epoch, or with `start: rewind` from the rewind epoch. The
    search ends at epoch `max_search_epochs`; the default is the epoch before the last.
    """

    name: Literal["early_bird"] = "early_bird"
    look_back: int = Field(default=5, ge=2)
    delta: float = Field(default=0.1, ge=0, lt=1)
    max_search_epochs: int | None = Field(default=None, gt=0)
    start: Literal["emergence", "rewind"] = "emergence"

    @model_validator(mode="after")
    def _rewound_or_not(self) -> EarlyBird:
        if self.start == "emergence" and self.rewind:
            raise ValueError("rewind: the ticket starts where its mask emerges; say start: rewind")
        return self

    def rewound(self, rewind: int) -> Method:
        return super().rewound(rewind if self.start == "rewind" else 0)

    def search_epochs(self, epochs: int) -> int:
        """Return the last epoch of the search, if training ends at `epochs`."""
        return self.max_search_epochs or epochs - 1

    def check(self, epochs: int) -> None:
        super().check(epochs)
        last = self.search_epochs(epochs)
        if last >= epochs:
            raise ValueError(f"max_search_epochs: {last} leaves nothing to train; it must be below epochs ({epochs})")
        if last < self.look_back:
            raise ValueError(
                f"look_back: {self.look_back} masks are never seen by method 'early_bird', which searches for {last} "
                f"of {epochs} epochs"
            )


@methods.register
class FixedEpoch(ChannelFinder):
    """A finder that takes the early-bird mask of epoch `epoch`, emerged or not. The ticket starts there."""

    name: Literal["fixed_epoch"] = "fixed_epoch"
    rewind: int | None = Field(default=0, ge=0, le=0)
    epoch: int = Field(gt=0)

    def check(self, epochs: int) -> None:
        if self.epoch >= epochs:
            raise ValueError(f"epoch: {self.epoch} leaves nothing to train; it must be below epochs ({epochs})")


@methods.register
class RandomChain(Finder):
    """Iterative magnitude pruning with a fresh initialisation in every round. The ticket starts from the last one."""

    name: Literal["random_chain"] = "random_chain"
    rewind: int | None = Field(default=0, ge=0, le=0)
    rate: float = Field(default=GRID_RATE, ge=0.01, lt=1)
