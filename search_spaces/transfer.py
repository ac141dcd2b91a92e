"""Transfer: tickets that move between models, and the controls of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_validator,
)

from search_spaces.base.registry import Spec
from search_spaces.base.sparsity import snapped
from search_spaces.controls import SmallDense
from search_spaces.datasets import AnyDataset, DatasetSpec
from search_spaces.methods import AnyFinder, AnyMethod, Control, Finder, methods
from search_spaces.models import AnyModel, ModelSpec
from search_spaces.trial import NOT_IDENTITY, Epochs, Seed, Trial

AnySeed = Annotated[
    Seed, BeforeValidator(lambda value: {"init": value, "order": value} if type(value) is int else value)
]


def _ids(value: Any) -> Any:
    ids = value if isinstance(value, list | tuple) else [value]
    for each in ids:
        if not isinstance(each, str):
            raise ValueError(f"{each} is no id; put ids in quotes, since YAML takes digits alone for a number")
    return ids


Ids = Annotated[tuple[str, ...], BeforeValidator(_ids), Field(min_length=1)]


class Imported(Spec):
    """A ticket from a file: the SHA-256 of the file, the ticket's model, and the shape (C, H, W) of its images."""

    sha256: str
    model: AnyModel
    image: tuple[int, int, int]


class Source(Spec):
    """The trial, or the imported ticket, that a transfer takes its ticket from.

    A sweep names it in one of these ways:

    - By the fields that differ from those of the trial that takes the ticket. The method defaults to `imp`.
    - By `trial_id`, one or several ids. The trial with the taker's sparsity is used. If several have that sparsity,
      the one that also has the taker's seed is used.
    - By a `query` on the columns of stored results. One of the trials found is used, by the same rule.
    - By `ticket`, the id of an imported ticket.

    Planning replaces each of these by the `trial` itself, or by the `imported` ticket.
    """

    model: AnyModel | None = None
    dataset: AnyDataset | None = None
    method: AnyMethod | None = None
    sparsity: Annotated[float, AfterValidator(snapped)] | None = Field(default=None, gt=0, lt=1)
    seed: AnySeed | None = None
    recipe: dict[str, Any] | None = None
    epochs: Epochs | None = None
    trial_id: Ids | None = None
    query: str | None = None
    ticket: str | None = None
    trial: Trial | None = None
    imported: Imported | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in (*_WAYS, "trial", "imported") if getattr(self, name) is not None]
        fields = [name for name in _FIELDS if getattr(self, name) is not None]
        if len(ways) + bool(fields) != 1:
            raise ValueError(
                f"a source is named in one way: by fields ({', '.join(_FIELDS)}), or by {', '.join(_WAYS)}"
            )
        return self

    @field_serializer("trial", mode="wrap")
    def _as_identified(self, trial: Trial | None, dump: SerializerFunctionWrapHandler) -> Any:
        # how the source is measured and run is not part of the taker's identity
        return dump(trial) if trial is None else {k: v for k, v in dump(trial).items() if k not in NOT_IDENTITY}

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that name the source; empty if it is named in another way."""
        return {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}

    @property
    def id(self) -> str | None:
        """The id of the trial or of the imported ticket; None before planning."""
        if self.trial:
            return self.trial.id
        return self.imported.sha256[:16] if self.imported else None

    @property
    def known(self) -> ModelSpec | None:
        """The model of the ticket, if it is known."""
        if self.imported:
            return self.imported.model
        return self.trial.model if self.trial else self.model


_FIELDS = ("model", "dataset", "method", "sparsity", "seed", "recipe", "epochs")
_WAYS = ("trial_id", "query", "ticket")

TrialOf = Callable[[Mapping[str, Any]], Trial]
"""Maps the fields in which another trial of the sweep differs from the current trial to that other trial."""


@methods.register
class Transfer(Finder):
    """The ticket of another trial, moved role by role.

    `move` selects the bodies: the `decoder` (or generator) moves to the generator (or decoder), the `encoder` (or
    discriminator) to the discriminator (or encoder), or `both` move. `weights` selects the start weights of what moves:

    - `source_rewind`: the weights that the source's ticket starts from;
    - `source_init`: the initial weights of the source's network;
    - `target`: the target's own weights at epoch `rewind`, so that only the mask moves.

    A tensor without a counterpart stays dense and starts from the target's own weights at epoch `rewind`.
    """

    searches: ClassVar = False

    name: Literal["transfer"] = "transfer"
    source: Source
    move: Literal["both", "encoder", "decoder"] = "both"
    weights: Literal["source_rewind", "source_init", "target"] = "source_rewind"

    @model_validator(mode="after")
    def _searches_elsewhere(self) -> Self:
        if self.scope is not None:
            raise ValueError("scope: the mask is found in the source; give it to the source's method")
        if self.source.imported and self.weights == "source_init":
            raise ValueError("weights: an imported ticket has no first weights but those it starts from")
        return self

    @property
    def bodies(self) -> tuple[str, ...]:
        """The bodies that move: `encode`, `decode`."""
        return {"both": ("encode", "decode"), "encoder": ("encode",), "decoder": ("decode",)}[self.move]

    def sourced(self, trial_of: TrialOf) -> Self:
        if not self.source.fields:
            return self
        return self.model_copy(update={"source": Source(trial=trial_of(self.source.fields))})

    def check_model(self, model: ModelSpec) -> None:
        source, trial = self.source.known, self.source.trial
        if trial and (trial.finder is None or isinstance(trial.method, SmallDense | WeightsOnly)):
            raise ValueError(f"source: a trial of {trial.method.name!r} has no mask that could move")
        if source is None:
            return
        if source.bodies and model.bodies and source.bodies != model.bodies:
            raise ValueError(
                f"source: {source.title} is made of {source.bodies} and {model.title} of {model.bodies}, "
                f"which have no roles in common"
            )
        if source.width != model.width:
            raise ValueError(
                f"source: {source.title} is of width {source.width} and {model.title} of width {model.width}; "
                f"tickets move between models of one width"
            )


def datasets_of(trial: Trial) -> list[DatasetSpec]:
    """List a trial's data set, followed by those of the trials that its ticket is taken from."""
    source = trial.finder.source.trial if isinstance(trial.finder, Transfer) else None
    return [trial.dataset, *(datasets_of(source) if source else ())]


def apart(trial: Trial) -> str:
    """Return the prefix for random draws of a trial that takes a ticket; empty for other trials.

    Models with the same seed have equal initial weights in the roles that they share. A taker must have other initial
    weights than its giver, because experiments compare its own weights with the giver's.
    """
    if not isinstance(trial.finder, Transfer):
        return ""
    source = trial.finder.source
    if source.imported:
        return f"taker of {source.id}: "
    assert source.trial is not None, "a source is resolved before it is planned"
    return f"taker: {apart(source.trial)}"


class OfTransfer(Control):
    """A control of a transfer."""

    of: AnyFinder = Field()

    @model_validator(mode="after")
    def _of_transfer(self) -> Self:
        if not isinstance(self.of, Transfer):
            raise ValueError(f"of: {self.name} is a control of transfer, not of {self.of.name!r}")
        return self


@methods.register
class MaskOnly(OfTransfer):
    """The transferred mask on the target's own weights: `transfer` with `weights: target`."""

    name: Literal["mask_only"] = "mask_only"

    @property
    def finder(self) -> Transfer:
        """The same transfer, but of the mask alone."""
        assert isinstance(self.of, Transfer)
        return self.of.model_copy(update={"weights": "target"})


@methods.register
class WeightsOnly(OfTransfer):
    """The transferred weights without the mask."""

    name: Literal["weights_only"] = "weights_only"
