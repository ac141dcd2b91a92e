"""The models that a sweep can name, and their options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from search_spaces.base.registry import NamedSpec, Registry

Kind = Literal["autoencoder", "vae", "gan"]


class ModelSpec(NamedSpec):
    """A generative model. `width` is the number of channels or units of its layer nearest the image.

    `family` is the kind of model. It determines what can be measured.
    """

    family: ClassVar[Kind]

    width: int = Field(gt=0)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        assert hasattr(cls, "family"), f"{cls.__name__} does not say of which family it is"

    @property
    def title(self) -> str:
        """The name of the model in tables: its own name, after that of a backbone other than its default."""
        return self.name

    @property
    def bodies(self) -> str | None:
        """What its bodies are built of. Models with equal values share roles. None means that it is unknown."""
        return None

    @property
    def components(self) -> tuple[str, str]:
        """The names of its networks."""
        return ("discriminator", "generator") if self.family == "gan" else ("encoder", "decoder")

    def check_components(self, names: Iterable[str]) -> None:
        """Raise ValueError if one of `names` is not a component of the model."""
        for name in names:
            if name not in self.components:
                raise ValueError(
                    f"scope.components: a {self.name} has no {name!r}; it has {' and '.join(self.components)}"
                )

    @property
    def generates(self) -> bool:
        """Whether it generates images. Distances can be measured on these."""
        return self.family != "autoencoder"

    @property
    def reconstructs(self) -> bool:
        """Whether it reconstructs images. Downstream accuracy can be measured on these."""
        return self.family != "gan"


models: Registry[ModelSpec] = Registry("model", ModelSpec)
AnyModel = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(models.parse)]


class Composed(ModelSpec):
    """A model that can be built from any backbone. `latent` is the size of its code.

    The default backbone is `conv`.
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
    """A variational autoencoder. `beta` is the weight of the KL term (Higgins et al. 2017)."""

    family: ClassVar[Kind] = "vae"
    name: Literal["vae"] = "vae"
    width: int = Field(default=64, gt=0)
    beta: float = Field(default=1.0, ge=0)


class Adversarial(Composed):
    """A generator and a discriminator.

    `ema` is the decay of a moving average of the generator's weights. The average is measured separately.
    """

    family: ClassVar[Kind] = "gan"
    width: int = Field(default=128, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)


@models.register
class DCGAN(Adversarial):
    """A GAN with batch norm in both networks and the non-saturating loss (Radford et al. 2016)."""

    name: Literal["dcgan"] = "dcgan"


@models.register
class SNGAN(Adversarial):
    """A GAN with spectral norm instead of batch norm in the discriminator, and hinge loss (Miyato et al. 2018)."""

    name: Literal["sngan"] = "sngan"


class Wasserstein(Adversarial):
    """A GAN with a critic instead of a discriminator. The critic has `critic_steps` updates per generator update."""

    critic_steps: int = Field(default=5, gt=0)


@models.register
class WGAN(Wasserstein):
    """A Wasserstein GAN with the critic's parameters clipped to [-clip, clip] (Arjovsky et al. 2017)."""

    name: Literal["wgan"] = "wgan"
    clip: float = Field(default=0.01, gt=0)


@models.register
class WGANGP(Wasserstein):
    """A Wasserstein GAN without norms in the critic. A `penalty` holds gradients at norm 1 (Gulrajani et al. 2017)."""

    name: Literal["wgan_gp"] = "wgan_gp"
    penalty: float = Field(default=10.0, gt=0)
