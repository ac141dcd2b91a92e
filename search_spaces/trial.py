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
"""Maximum number of epochs that a selection can compare. The store keeps the state of each."""


class Seed(Spec):
    """The seeds of a trial: `init` draws weights and controls, `order` draws batches and latents."""

    init: int = Field(ge=0, lt=2**63)
    order: int = Field(ge=0, lt=2**63)


Epochs = Annotated[int, Field(gt=0, lt=1_000_000)]
"""The number of epochs to train."""


class Decay(Spec):
    """A schedule of the learning rate: it falls along half a cosine and then stays constant.

    At epoch `epochs` it reaches `to` times its first value. It changes only between epochs. Loshchilov and Hutter
    (2017), equation 5, without restarts.
    """

    epochs: int = Field(gt=0)
    to: float = Field(default=0.01, gt=0, lt=1)


class Recipe(Spec):
    """All settings that a training step reads, apart from the model and the data.

    `lr_discriminator` is the discriminator's learning rate if it differs from `lr`; `decay` lowers both. `bf16`
    trains the networks under autocast; losses and weights stay in fp32. Evaluation runs in fp32, too. An incomplete
    last batch of an epoch is dropped.
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
    """How distances between generated and real images are measured.

    `features` names the network whose features are compared. `auto` takes the best one that is available; `none`
    measures no distances. `samples` generated images are compared with as many real ones from the part `reference` of
    the data set. The default is the evaluation's `samples`. `weights` identifies the weights of the network, by the
    SHA-256 of their file if they come from one; tombola fills it in.
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
        """Whether the network is identified, or no distances are measured."""
        return self.features == "none" or self.weights is not None


class Selection(Spec):
    """How the best epoch of a ticket's training is selected.

    Every `every` epochs, the metric `by` is measured on the last `samples` held-out images. Nothing else is measured
    on these. `by` defaults to the model's distance; for models without distances, to the ELBO or the reconstruction
    error.
    """

    every: int = Field(gt=0)
    samples: int = Field(default=500, gt=0)
    by: str | None = None


class Evaluation(Spec):
    """What is measured on a trained network, on `samples` held-out images.

    `grid` is the number of images along a side of its picture grids. `downstream` classifies reconstructions with a
    ResNet-18 that is trained once on the data set.
    """

    samples: int = Field(default=1000, gt=0)
    grid: int = Field(default=8, ge=0, le=64)
    distances: Distances = Distances()
    downstream: bool = False
    selection: Selection | None = None

    @property
    def compared(self) -> int:
        """The number of generated images, and of real images, that the distances compare."""
        return self.distances.samples or self.samples


class Resources(Spec):
    """What one trial occupies: whole CPU cores, and a share of one GPU (0 means that it runs on the CPU)."""

    cpus: int = Field(default=1, gt=0, le=1024)
    gpus: float = Field(default=0.0, ge=0, le=1)


class CheckpointEvery(Spec):
    """How often a line in training is saved against preemption, in addition to the points that the plan needs."""

    epochs: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _one_unit(cls, value: Any) -> Any:
        if isinstance(value, dict) and len([item for item in value.values() if item is not None]) != 1:
            raise ValueError("give either epochs or minutes")
        return value


class Settings(Spec):
    """Settings that a sweep gives to all of its trials. Overrides change them for some."""

    recipe: Recipe = Recipe()
    epochs: Epochs
    rewind: int = Field(default=0, ge=0)
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    checkpoint_every: CheckpointEvery = CheckpointEvery(minutes=10)


class Code(Spec):
    """Identifies the plugin code of a trial's model, scorer and search; None for a part without plugin code."""

    model: str | None = None
    scorer: str | None = None
    search: str | None = None


class Trial(WithPlugins, Spec):
    """One model, data set, method, sparsity and seed, trained by one recipe.

    `code` identifies the plugin code of the trial, if it has any; tombola fills it in. The fields after `code` say how
    the trial is run and measured; they are not part of its identity.
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
        """The method that finds the mask: for a control, the finder it is applied to; for the dense network, None."""
        method = self.method.of if isinstance(self.method, Control) else self.method
        return method if isinstance(method, Finder) else None

    @property
    def rewind(self) -> int:
        """The epoch that the finder's ticket starts from; 0 without a finder."""
        rewind = self.finder.rewind if self.finder else 0
        assert rewind is not None, "a trial's finder has its rewind epoch written out"
        return rewind

    def evaluated(self, evaluation: Evaluation) -> Trial:
        """Return the same trial with another evaluation."""
        return self.changed(evaluation=evaluation)

    def changed(self, **fields: Any) -> Trial:
        """Return the trial with other values for some fields. The values are not checked."""
        own = {name: getattr(self, name) for name in Trial.model_fields}
        return Trial.model_construct(**{**own, **fields})

    @cached_property
    def id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the identity: the canonical JSON without `NOT_IDENTITY`."""
        return digest(self.model_dump(exclude=NOT_IDENTITY))[:16]

    @cached_property
    def spec_json(self) -> str:
        """All fields as canonical JSON. `Trial.model_validate_json` restores the trial from it."""
        return canonical_json(self.model_dump())


class StoredError(TombolaError):
    """A stored trial that cannot be read here, for example because its plugin cannot be imported."""


def stored_trial(trial_id: str, spec_json: str) -> Trial:
    """Restore the trial `trial_id` from its spec, as a store keeps it.

    Raises:
        StoredError: if its plugins cannot be imported here, or a name in it is no longer known.
    """
    try:
        return Trial.model_validate_json(spec_json)
    except ValidationError as error:
        plugins = _plugins_of(spec_json)
        made_with = f"; it was made with the plugins {', '.join(plugins)}" if plugins else ""
        raise StoredError(f"trial {trial_id} is not understood here: {sentence(error)}{made_with}") from error


def _plugins_of(spec_json: str) -> list[str]:
    """List the plugins that a stored spec names; empty if that cannot be read."""
    try:
        spec = json.loads(spec_json)
    except (TypeError, ValueError):
        return []
    plugins = spec.get("plugins") if isinstance(spec, dict) else None
    return [str(name) for name in plugins] if isinstance(plugins, list) else []


NOT_IDENTITY = {"evaluation", "resources", "checkpoint_every", "plugins"}
"""Fields that say how a trial is run and measured. They are not part of its identity."""
