"""A trial: one complete ticket search, with every default written out."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from search_spaces.base.canonical import canonical_json, digest
from search_spaces.base.plugins import WithPlugins
from search_spaces.base.registry import Spec
from search_spaces.base.sparsity import snapped
from search_spaces.controls import LRRewinding
from search_spaces.datasets import AnyDataset
from search_spaces.errors import TombolaError, sentence
from search_spaces.methods import AnyMethod, Control, Finder
from search_spaces.models import AnyModel

LOOKS = 1_000
"""Epochs of a ticket's training that can be looked at; all of them are kept."""


class Seed(Spec):
    """Where randomness comes from: `init` draws weights and controls, `order` batches and latents."""

    init: int = Field(ge=0, lt=2**63)
    order: int = Field(ge=0, lt=2**63)


Epochs = Annotated[int, Field(gt=0, lt=1_000_000)]
"""How long is trained."""


class Decay(Spec):
    """The learning rate falls along half a cosine to `to` times what it was, at epoch `epochs`, and stays there.

    Loshchilov and Hutter (2017), equation 5, without restarts; it changes between epochs.
    """

    epochs: int = Field(gt=0)
    to: float = Field(default=0.01, gt=0, lt=1)


class Recipe(Spec):
    """Exactly what a training step reads, beside the model and the data.

    `lr_discriminator` is the discriminator's learning rate where it differs from `lr`; `decay` lowers both. `bf16`
    trains the networks under autocast; losses and weights stay in fp32. Evaluation runs in fp32, too. An incomplete
    last batch of an epoch is left out.
    """

    batch: int = Field(default=100, gt=1)
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    lr_discriminator: float | None = Field(default=None, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    decay: Decay | None = None

    @model_validator(mode="after")
    def _betas_below_one(self) -> Recipe:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {list(self.betas)} must lie in [0, 1)")
        return self


class Distances(Spec):
    """How far what a model makes lies from real images.

    `features` are those of a network that the distances are measured in; `auto` takes the best that is there, and
    `none` measures none. `samples` images of the model are compared with as many of the data set, from the part
    `reference`; left out, there are as many as the evaluation has. `weights` identifies that network: of a file it
    is the SHA-256; tombola fills it in.
    """

    features: Literal["auto", "none", "inception", "fashion", "effnet"] = "auto"
    samples: int | None = Field(default=None, gt=0)
    reference: Literal["held_out", "train"] = "held_out"
    weights: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _weights_of_a_network(self) -> Distances:
        if self.weights is not None and self.features in ("auto", "none"):
            raise ValueError("weights: tombola fills them in; leave them out")
        return self

    @property
    def settled(self) -> bool:
        """Whether it is known which network they are measured with, if any."""
        return self.features == "none" or self.weights is not None


class Selection(Spec):
    """Which epoch of a ticket's training was best: by what is measured every so many epochs on images of its own.

    Those are the last `samples` held-out images, on which nothing else is measured. `by` is a metric; left out, it is
    a model's distance, for models without distances the ELBO or the reconstruction error.
    """

    every: int = Field(gt=0)
    samples: int = Field(default=500, gt=0)
    by: str | None = None


class Evaluation(Spec):
    """What is measured on a trained network: on how many held-out images, and the side of its picture grids.

    `downstream` has reconstructions classified by a ResNet-18 that is trained on the data set once.
    """

    samples: int = Field(default=1000, gt=0)
    grid: int = Field(default=8, ge=0, le=64)
    distances: Distances = Distances()
    downstream: bool = False
    selection: Selection | None = None

    @property
    def compared(self) -> int:
        """Images of the model, and of the data set, that distances are measured between."""
        return self.distances.samples or self.samples


class Resources(Spec):
    """What one trial occupies: whole CPU cores, and a share of one GPU (0: it runs on the CPU)."""

    cpus: int = Field(default=1, gt=0, le=1024)
    gpus: float = Field(default=0.0, ge=0, le=1)


class CheckpointEvery(Spec):
    """How often a running trajectory is saved against preemption, beside the points that the plan needs."""

    epochs: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _one_unit(cls, value: Any) -> Any:
        if isinstance(value, dict) and len([item for item in value.values() if item is not None]) != 1:
            raise ValueError("give either epochs or minutes")
        return value


class Settings(Spec):
    """What a sweep sets for all of its trials and overrides for some of them."""

    recipe: Recipe = Recipe()
    epochs: Epochs
    rewind: int = Field(default=0, ge=0)
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    checkpoint_every: CheckpointEvery = CheckpointEvery(minutes=10)


class Code(Spec):
    """What identifies the code that plugins bring to a trial: to its model, scorer and search."""

    model: str | None = None
    scorer: str | None = None
    search: str | None = None


class Trial(WithPlugins, Spec):
    """One model, data set, method, sparsity and seed, trained by one recipe.

    `code` is that of plugins, where a trial has parts of theirs; tombola fills it in. The fields after it say how the
    trial is run and measured; they are no part of its identity.
    """

    model: AnyModel
    dataset: AnyDataset
    method: AnyMethod
    sparsity: Annotated[float, AfterValidator(snapped)]
    seed: Seed
    recipe: Recipe
    epochs: Epochs
    code: Code | None = None
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    checkpoint_every: CheckpointEvery = CheckpointEvery(minutes=10)

    @model_validator(mode="after")
    def _checked(self) -> Trial:
        if self.finder and self.finder.rewind is None:
            raise ValueError(f"method {self.method.name!r} needs a rewind epoch")
        self.check()
        return self

    def check(self) -> None:
        """Raise ValueError if the method does not go with the other fields."""
        self.method.check(self.epochs)
        self.method.check_model(self.model)
        selection = self.evaluation.selection
        if selection and self.epochs // selection.every > LOOKS:
            raise ValueError(f"evaluation.selection.every: that looks at more than {LOOKS:,} epochs of {self.epochs:,}")
        if isinstance(self.method, LRRewinding) and self.recipe.decay is None:
            raise ValueError(
                "method 'lr_rewinding' needs recipe.decay: a learning rate that never falls cannot be rewound"
            )

    @property
    def finder(self) -> Finder | None:
        """The method that finds the mask, for a control the one it is applied to; None for the dense network."""
        method = self.method.of if isinstance(self.method, Control) else self.method
        return method if isinstance(method, Finder) else None

    @property
    def rewind(self) -> int:
        """The epoch that the finder's ticket starts from; 0 where nothing is rewound."""
        rewind = self.finder.rewind if self.finder else 0
        assert rewind is not None, "a trial's finder has its rewind epoch written out"
        return rewind

    def evaluated(self, evaluation: Evaluation) -> Trial:
        """The same trial, measured in another way."""
        return self.changed(evaluation=evaluation)

    def changed(self, **fields: Any) -> Trial:
        """The trial with other values for some fields, which are not checked."""
        own = {name: getattr(self, name) for name in Trial.model_fields}
        return Trial.model_construct(**{**own, **fields})

    @cached_property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of the canonical JSON of what makes the trial what it is."""
        return digest(self.model_dump(exclude=NOT_IDENTITY))[:16]

    @cached_property
    def spec_json(self) -> str:
        """Every field as canonical JSON; `Trial.model_validate_json` makes the trial of it again."""
        return canonical_json(self.model_dump())


class StoredError(TombolaError):
    """A trial of a store that is not understood here, as where its plugin is not importable."""


def stored_trial(trial_id: str, spec_json: str) -> Trial:
    """The trial of that id, of its spec as a store keeps it.

    Raises:
        StoredError: if its plugins cannot be imported here, or do not know any more what it names.
    """
    try:
        return Trial.model_validate_json(spec_json)
    except ValidationError as error:
        plugins = _plugins_of(spec_json)
        made_with = f"; it was made with the plugins {', '.join(plugins)}" if plugins else ""
        raise StoredError(f"trial {trial_id} is not understood here: {sentence(error)}{made_with}") from error


def _plugins_of(spec_json: str) -> list[str]:
    """The plugins that a stored spec names, if it can be read that far."""
    try:
        spec = json.loads(spec_json)
    except (TypeError, ValueError):
        return []
    plugins = spec.get("plugins") if isinstance(spec, dict) else None
    return [str(name) for name in plugins] if isinstance(plugins, list) else []


NOT_IDENTITY = {"evaluation", "resources", "checkpoint_every", "plugins"}
"""Fields that say how a trial is run and measured, not what it is."""
