"""The models that a sweep can name, and their options."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from search_spaces.spec import NamedSpec, Registry


class ModelSpec(NamedSpec):
    """A generative model: `width` is that of its layer nearest the image, `latent` the size of its code.

    `generates` says whether images can be drawn from it, on which distances are measured, and `reconstructs` whether it
    restores images, on which downstream accuracy is. `selected_by` is the metric by which its best epoch is selected
    where there are no distances.
    """

    generates: ClassVar[bool] = True
    reconstructs: ClassVar[bool] = True
    selected_by: ClassVar[str | None] = None
    width: int = Field(gt=0)
    latent: int = Field(default=32, gt=0)


models: Registry[ModelSpec] = Registry("model", ModelSpec)
AnyModel = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(models.parse)]


@models.register
class LinearAutoencoder(ModelSpec):
    generates: ClassVar[bool] = False
    selected_by: ClassVar[str | None] = "reconstruction_mse"
    name: Literal["linear_autoencoder"] = "linear_autoencoder"
    width: int = Field(default=128, gt=0)


@models.register
class VAE(ModelSpec):
    """`beta` weighs the KL term (Higgins et al. 2017)."""

    selected_by: ClassVar[str | None] = "elbo"
    name: Literal["vae"] = "vae"
    width: int = Field(default=64, gt=0)
    beta: float = Field(default=1.0, ge=0)


@models.register
class DCGAN(ModelSpec):
    reconstructs: ClassVar[bool] = False
    name: Literal["dcgan"] = "dcgan"
    width: int = Field(default=128, gt=0)
