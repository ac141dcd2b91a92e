"""Distances between sets of images in the features of a network, as torch-fidelity computes them."""

from __future__ import annotations

from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from workers.evaluation.feature_set import FeatureSet

_ALL, _SUBSET, _SUBSETS = 5000, 1000, 100


def distances(fakes: FeatureSet, real: FeatureSet) -> dict[str, float]:
    """The metrics of fakes against real images: those that are called FID and so on if both have Inception's logits.

    Fréchet distance of two Gaussians (Heusel et al. 2017, eq. 6); squared MMD with the kernel (x·y / D + 1)^3,
    unbiased (Bińkowski et al. 2018), over all pairs of up to 5,000 images, of more as the mean over 100 subsets of
    1,000; precision and recall with 3 nearest neighbours (Kynkäänniemi et al. 2019).
    """
    frechet, (kernel, shares) = frechet_distance(fakes, real), nearness(fakes, real)
    if fakes.logits is None:
        return {"frechet_distance": frechet, "kernel_distance": kernel, **shares}
    score = isc_features_to_metric(fakes.logits)[KEY_METRIC_ISC_MEAN]
    return {"fid": frechet, "kid": kernel, "inception_score": score, **shares}


def nearness(fakes: FeatureSet, real: FeatureSet) -> tuple[float, dict[str, float]]:
    """What looks at all pairs of features: the kernel distance, and precision and recall."""
    near = prc_features_to_metric(fakes.values, real.values, save_cpu_ram=True, verbose=False)
    shares = {"precision": near[KEY_METRIC_PRECISION], "recall": near[KEY_METRIC_RECALL]}
    return kernel_distance(fakes, real), shares


def frechet_distance(one: FeatureSet, other: FeatureSet) -> float:
    statistics = [{"mu": s.mean.numpy(), "sigma": s.covariance.numpy()} for s in (one, other)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kernel_distance(one: FeatureSet, other: FeatureSet) -> float:
    """Slightly below 0 for sets that cannot be told apart: the estimate is unbiased."""
    fewest = min(len(one.values), len(other.values))
    size, subsets = (fewest, 1) if fewest <= _ALL else (_SUBSET, _SUBSETS)
    # In float64: the cube of features in the hundreds leaves fp32 few digits for the difference.
    values = (one.values.double(), other.values.double())
    found = kid_features_to_metric(*values, kid_subsets=subsets, kid_subset_size=size, verbose=False)
    return float(found[KEY_METRIC_KID_MEAN])
