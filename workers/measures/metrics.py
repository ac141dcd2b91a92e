"""Metrics: all quantities that can be measured on a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

AUTOENCODERS, VAES, GANS = ("autoencoder", "vae"), ("vae",), ("gan",)
GENERATORS = ("vae", "gan")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: the families of models that have it, what it `says`, and which value is `best`, if any.

    `given` is the condition for measuring it: distances in Inception's features (`inception`), in those of another
    network (`others`) or in any (`distances`), or `downstream` evaluation. Without a condition, it is always measured.
    The terminal shows the metrics that are `shown`.
    """

    of: tuple[str, ...]
    says: str
    best: Literal["lowest", "highest"] | None = None
    given: Literal["inception", "others", "distances", "downstream"] | None = None
    shown: bool = False

    @property
    def meaning(self) -> str:
        """The meaning of the metric's column: the families that have it, and what it says."""
        names = {"autoencoder": "autoencoder", "vae": "VAE", "gan": "GAN"}
        return f"{', '.join(names[family] for family in self.of)}: {self.says}"

    def best_of(self, values: Sequence[float]) -> int:
        """Return the position of the best of several values; of equal values, the first."""
        assert self.best is not None
        return values.index(min(values) if self.best == "lowest" else max(values))


_METRICS = {
    "reconstruction_mse": Metric(
        AUTOENCODERS, "mean squared error of a held-out pixel in [-1, 1]", "lowest", shown=True
    ),
    "reconstruction": Metric(
        VAES, "squared error summed over a held-out image, one code drawn for each, mean", "lowest"
    ),
    "kl": Metric(VAES, "KL of the posterior from N(0, 1) of a held-out image, in nats, mean"),
    "elbo": Metric(
        VAES, "-(reconstruction + kl), without beta: the bound in nats, up to a constant", "highest", shown=True
    ),
    "active_units": Metric(
        VAES, "units of the code whose mean varies over held-out images, by more than 0.01 (Burda et al. 2016)"
    ),
    "discriminator_loss": Metric(
        GANS,
        "the discriminator's own loss on held-out images plus that on as many fakes; a cross-entropy is in nats",
        shown=True,
    ),
    "real_accuracy": Metric(GANS, "fraction of held-out images that the discriminator calls real; critics do not"),
    "fake_accuracy": Metric(GANS, "fraction of fakes that the discriminator calls fake, likewise"),
    "fid": Metric(
        GENERATORS,
        "Fréchet distance of fakes from real images in Inception features (Heusel et al. 2017)",
        "lowest",
        given="inception",
        shown=True,
    ),
    "kid": Metric(
        GENERATORS,
        "squared MMD with a cubic kernel in Inception features (Bińkowski et al. 2018)",
        "lowest",
        given="inception",
    ),
    "inception_score": Metric(
        GENERATORS,
        "Inception Score of fakes, mean over 10 splits (Salimans et al. 2016)",
        "highest",
        given="inception",
    ),
    "frechet_distance": Metric(
        GENERATORS,
        "as `fid`, in the features of another network, which `features` names",
        "lowest",
        given="others",
        shown=True,
    ),
    "kernel_distance": Metric(
        GENERATORS, "as `kid`, in the features of another network, which `features` names", "lowest", given="others"
    ),
    "precision": Metric(
        GENERATORS,
        "fraction of fakes among real images, by 3 nearest neighbours (Kynkäänniemi et al. 2019)",
        given="distances",
    ),
    "recall": Metric(GENERATORS, "fraction of real images among fakes, likewise", given="distances"),
    "downstream_accuracy": Metric(
        AUTOENCODERS,
        "fraction of reconstructions that a ResNet-18 trained on the data set classifies right",
        given="downstream",
    ),
    "downstream_accuracy_real": Metric(AUTOENCODERS, "the same of the held-out images themselves", given="downstream"),
}
AVERAGED = "ema_"
"""The prefix of metrics that are measured with the moving average of a generator's weights."""

METRICS = _METRICS | {
    f"{AVERAGED}{name}": replace(
        metric,
        of=GANS,
        says=f"`{name}` of the average of the generator's weights, where the model has `ema`",
        shown=False,
    )
    for name, metric in _METRICS.items()
    if metric.given in ("inception", "others", "distances")
}
"""All metrics by name. A trial measures those of its model's family whose condition its evaluation meets."""


def distance_metrics(features: str) -> tuple[str, ...]:
    """List the metrics that are measured in these features. The first one selects an epoch by default."""
    if features == "none":
        return ()
    given = ("inception" if features == "inception" else "others", "distances")
    return tuple(name for name, metric in _METRICS.items() if metric.given in given)
