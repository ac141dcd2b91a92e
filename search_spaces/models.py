"""The models that a sweep can name, and their options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from search_spaces.base.registry import NamedSpec, Registry

Kind = Literal["autoencoder", "vae", "gan"]


class ModelSpec(NamedSpec):
    """A generative model: `width` is that of its layer nearest the image.

    `family` says what kind of model it is, and with it what can be measured on it.
    """

    family: ClassVar[Kind]

    width: int = Field(gt=0)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        assert hasattr(cls, "family"), f"{cls.__name__} does not say of which family it is"

    @property
    def title(self) -> str:
        """What it is called in tables: its name, with that of a backbone which is not its own."""
        return self.name

    @property
    def bodies(self) -> str | None:
        """What its bodies are built of: models with the same share roles; None where that is not known."""
        return None

    @property
    def components(self) -> tuple[str, str]:
        """The networks that it is made of."""
        return ("discriminator", "generator") if self.family == "gan" else ("encoder", "decoder")

    def check_components(self, names: Iterable[str]) -> None:
        """Raise ValueError if one of `names` is no component of the model."""
        for name in names:
            if name not in self.components:
                raise ValueError(
                    f"scope.components: a {self.name} has no {name!r}; it has {' and '.join(self.components)}"
                )

    @property
    def generates(self) -> bool:
        """Whether images can be drawn from it, on which distances are measured."""
        return self.family != "autoencoder"

    @property
    def reconstructs(self) -> bool:
        """Whether it restores images, on which downstream accuracy is measured."""
        return self.family != "gan"


models: Registry[ModelSpec] = Registry("model", ModelSpec)
AnyModel = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(models.parse)]


class Composed(ModelSpec):
    """A model that can be made of any backbone; `latent` is the size of its code.

    Left out, the backbone is `conv`.
    """

    family: ClassVar[Kind] = "autoencoder"

    latent: int = Field(default=32, gt=0)
    backbone: str | None = None

    @field_validator("backbone", mode="after")
    @classmethod
    def _one_way_to_say_it(cls, backbone: str | None) -> str | None:
        return None if backbone == "conv" else backbone

    @property
    def title(self) -> str:
        return f"{self.backbone}_{self.name}" if self.backbone else self.name

    @property
    def bodies(self) -> str:
        return self.backbone or "conv"


@models.register
class LinearAutoencoder(ModelSpec):
    family: ClassVar[Kind] = "autoencoder"
    name: Literal["linear_autoencoder"] = "linear_autoencoder"
    width: int = Field(default=128, gt=0)
    latent: int = Field(default=32, gt=0)

    @property
    def bodies(self) -> str:
        return "mlp"


@models.register
class ConvAutoencoder(ModelSpec):
    """The convolutional autoencoder of Kalibhat et al. (2021), whose code is a map of 16 times its width."""

    family: ClassVar[Kind] = "autoencoder"
    name: Literal["conv_autoencoder"] = "conv_autoencoder"
    width: int = Field(default=32, gt=0)

    @property
    def bodies(self) -> str:
        return "pooled"


@models.register
class Autoencoder(Composed):
    """An autoencoder with the same bodies as a VAE."""

    family: ClassVar[Kind] = "autoencoder"
    name: Literal["autoencoder"] = "autoencoder"
    width: int = Field(default=64, gt=0)


@models.register
class VAE(Composed):
    """`beta` weighs the KL term (Higgins et al. 2017)."""

    family: ClassVar[Kind] = "vae"
    name: Literal["vae"] = "vae"
    width: int = Field(default=64, gt=0)
    beta: float = Field(default=1.0, ge=0)


class Adversarial(Composed):
    """A generator and a discriminator. `ema` is the decay of an average of the generator's weights, measured apart."""

    family: ClassVar[Kind] = "gan"
    width: int = Field(default=128, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)


@models.register
class DCGAN(Adversarial):
    """Batch norm on both sides and the non-saturating loss (Radford et al. 2016)."""

    name: Literal["dcgan"] = "dcgan"


@models.register
class SNGAN(Adversarial):
    """Spectral norm in place of the discriminator's batch norm, and the hinge loss (Miyato et al. 2018)."""

    name: Literal["sngan"] = "sngan"


class Wasserstein(Adversarial):
    """A critic in place of a discriminator, with `critic_steps` updates for each of the generator."""

    critic_steps: int = Field(default=5, gt=0)


@models.register
class WGAN(Wasserstein):
    """A critic whose parameters are clipped to [-clip, clip] (Arjovsky et al. 2017)."""

    name: Literal["wgan"] = "wgan"
    clip: float = Field(default=0.01, gt=0)


@models.register
class WGANGP(Wasserstein):
    """A critic without norms, whose gradients are held at norm 1 by a `penalty` (Gulrajani et al. 2017)."""

    name: Literal["wgan_gp"] = "wgan_gp"
    penalty: float = Field(default=10.0, gt=0)
