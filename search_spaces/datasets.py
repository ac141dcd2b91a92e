"""The data sets that a sweep can name, and their options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, SerializeAsAny

from search_spaces.spec import NamedSpec, Registry


class DatasetSpec(NamedSpec):
    """Images to train on and held-out images to evaluate on."""


datasets: Registry[DatasetSpec] = Registry("data set", DatasetSpec)
AnyDataset = Annotated[SerializeAsAny[DatasetSpec], BeforeValidator(datasets.parse)]


@datasets.register
class Digits(DatasetSpec):
    """5,000 MNIST digits, 4,000 to train on and 1,000 held out, padded to 32x32."""

    name: Literal["digits"] = "digits"
