"""The controls that a sweep can name, and their options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from search_spaces.methods import AnyFinder, Control, EarlyBird, Finder, methods


@methods.register
class Reinit(Control):
    """The finder's mask on a fresh initialisation: the random ticket of Kalibhat et al. (2021)."""

    name: Literal["reinit"] = "reinit"


@methods.register
class EarlyBirdReinit(Control):
    """The mask of an early-bird ticket on a fresh initialisation."""

    name: Literal["early_bird_reinit"] = "early_bird_reinit"
    of: AnyFinder = Field(default_factory=lambda: EarlyBird(), validate_default=True)

    @field_validator("of", mode="after")
    @classmethod
    def _of_early_bird(cls, of: Finder) -> Finder:
        if not isinstance(of, EarlyBird):
            raise ValueError(f"it takes early_bird; of {of.name!r} the same control is reinit")
        return of


@methods.register
class ShuffleLayer(Control):
    """The finder's start state with its mask shuffled within each layer, so that only layer densities stay the same."""

    name: Literal["shuffle_layer"] = "shuffle_layer"


@methods.register
class ShuffleFilter(Control):
    """The finder's start state with the filters of its mask shuffled within each layer. A filter keeps its pattern."""

    name: Literal["shuffle_filter"] = "shuffle_filter"


@methods.register
class RandomGlobal(Control):
    """The finder's start state with as many weights kept, drawn at random from all layers."""

    name: Literal["random_global"] = "random_global"


@methods.register
class ERK(Control):
    """The finder's start state with as many weights kept, drawn with the layer densities of Evci et al. (2020)."""

    name: Literal["erk"] = "erk"


@methods.register
class RandomChannels(Control):
    """The finder's start state with as many channels kept in each layer, drawn at random."""

    name: Literal["random_channels"] = "random_channels"
    of: AnyFinder = Field(default_factory=lambda: EarlyBird(), validate_default=True)

    @field_validator("of", mode="after")
    @classmethod
    def _of_channels(cls, of: Finder) -> Finder:
        if of.criterion.channels is None:
            raise ValueError(f"the masks of {of.name!r} are not of channels; it takes early_bird or fixed_epoch")
        return of


@methods.register
class Invert(Control):
    """The finder's own search, except that it keeps the weights with the worst scores."""

    name: Literal["invert"] = "invert"

    @field_validator("of", mode="after")
    @classmethod
    def _of_a_search(cls, of: Finder) -> Finder:
        return _searching(of)


@methods.register
class SmallDense(Control):
    """A narrower dense network with as many parameters as the finder's ticket, or as many FLOPs."""

    name: Literal["small_dense"] = "small_dense"
    equal: Literal["parameters", "flops"] = "parameters"


class Unrewound(Control):
    """The finder's mask on the weights in which it was found."""

    @field_validator("of", mode="after")
    @classmethod
    def _found_when_known(cls, of: Finder) -> Finder:
        if isinstance(of, EarlyBird) and of.start == "rewind":
            raise ValueError(
                "an early-bird ticket on the weights that it was found in is early_bird without start: rewind"
            )
        return _searching(of)


def _searching(of: Finder) -> Finder:
    if not of.searches:
        raise ValueError(f"{of.name!r} finds its mask in another model; it takes a finder such as 'imp'")
    return of


@methods.register
class FineTune(Unrewound):
    """The finder's mask on the weights in which it was found. Training continues at the learning rate reached there."""

    name: Literal["fine_tune"] = "fine_tune"


@methods.register
class LRRewinding(Unrewound):
    """The finder's mask on the weights in which it was found, with a rewound learning rate (Renda et al. 2020)."""

    name: Literal["lr_rewinding"] = "lr_rewinding"
