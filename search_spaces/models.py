"""The models that a sweep can name, and their options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from search_spaces.spec import NamedSpec, Registry


class ModelSpec(NamedSpec):
    """A generative model: `width` is that of its layer nearest the image, `latent` the size of its code.

    `family` says what kind of model it is, and with it what can be measured on it.
    """

    family: ClassVar[Literal["autoencoder", "vae", "gan"]]

    width: int = Field(gt=0)
    latent: int = Field(default=32, gt=0)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        assert hasattr(cls, "family"), f"{cls.__name__} does not say of which family it is"

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


@models.register
class LinearAutoencoder(ModelSpec):
    family: ClassVar = "autoencoder"
    name: Literal["linear_autoencoder"] = "linear_autoencoder"
    width: int = Field(default=128, gt=0)


@models.register
class VAE(ModelSpec):
    """`beta` weighs the KL term (Higgins et al. 2017)."""

    family: ClassVar = "vae"
    name: Literal["vae"] = "vae"
    width: int = Field(default=64, gt=0)
    beta: float = Field(default=1.0, ge=0)


@models.register
class DCGAN(ModelSpec):
    family: ClassVar = "gan"
    name: Literal["dcgan"] = "dcgan"
    width: int = Field(default=128, gt=0)
