"""Distances between sets of images in the features of a network, as torch-fidelity computes them."""

from __future__ import annotations

from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from workers.evaluation.feature_set import FeatureSet

_ALL, _SUBSET, _SUBSETS = 5000, 1000, 100


def distances(fakes: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """The distances of fakes from real images, by the name of the metric.

    The metrics are called `fid`, `kid` and `inception_score` only for Inception's features, which come with logits.

    - Fréchet distance: that of two Gaussians (Heusel et al. 2017, eq. 6).
    - Kernel distance: the unbiased squared MMD with the kernel (x·y / D + 1)^3 (Bińkowski et al. 2018). Up to 5,000
      images, it takes all pairs; above, it is the mean over 100 subsets of 1,000 images.
    - Precision and recall: with 3 nearest neighbours (Kynkäänniemi et al. 2019).
    """
    frechet, (kernel, shares) = frechet_distance(fakes, real), nearness(fakes, real)
    if fakes.logits is None:
        return {"frechet_distance": frechet, "kernel_distance": kernel, **shares}
    score = isc_features_to_metric(fakes.logits)[KEY_METRIC_ISC_MEAN]
    return {"fid": frechet, "kid": kernel, "inception_score": score, **shares}


def nearness(fakes: FeatureSet, real: FeatureSet) -> tuple[float, dict[str, float]]:
    """The measures that compare all pairs of features: the kernel distance, and precision and recall."""
    near = prc_features_to_metric(fakes.values, real.values, save_cpu_ram=True, verbose=False)
    shares = {"precision": near[KEY_METRIC_PRECISION], "recall": near[KEY_METRIC_RECALL]}
    return kernel_distance(fakes, real), shares


def frechet_distance(one: FeatureSet, other: FeatureSet) -> float:
    statistics = [{"mu": s.mean.numpy(), "sigma": s.covariance.numpy()} for s in (one, other)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kernel_distance(one: FeatureSet, other: FeatureSet) -> float:
    """The kernel distance of two sets. It may be slightly below 0 for similar sets, because it is unbiased."""
    fewest = min(len(one.values), len(other.values))
    size, subsets = (fewest, 1) if fewest <= _ALL else (_SUBSET, _SUBSETS)
    # In float64: the kernel cubes large features, and the difference of such numbers has few digits in fp32.
    values = (one.values.double(), other.values.double())
    found = kid_features_to_metric(*values, kid_subsets=subsets, kid_subset_size=size, verbose=False)
    return float(found[KEY_METRIC_KID_MEAN])
