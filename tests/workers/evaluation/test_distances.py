"""Distances against closed forms and plain numpy, and feature sets against both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.metric_kid import kid_features_to_metric

from workers.evaluation.distances import distances, frechet_distance, kernel_distance
from workers.evaluation.extractors import Inception, state_dict_of
from workers.evaluation.feature_set import FeatureSet, Moments, feature_set
from workers.randomness import generator


def cloud(values: Tensor) -> FeatureSet:
    return feature_set(values.split(7), lambda batch: batch)


def gaussian(count: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dimensions, generator=generator(seed, "cloud"))


def test_the_frechet_distance_of_two_gaussians_with_diagonal_covariances_is_the_closed_form() -> None:
    def moments(mean: list[float], variances: list[float]) -> FeatureSet:
        none = torch.zeros(0, 3)
        return FeatureSet(none, torch.tensor(mean).double(), torch.diag(torch.tensor(variances).double()))

    one, other = moments([1, 2, 2], [1, 4, 9]), moments([0, 0, 0], [4, 1, 16])
    # |m|^2 + sum (s - t)^2 = 9 + 1 + 1 + 1
    assert frechet_distance(one, other) == pytest.approx(12.0, abs=1e-9)
    assert frechet_distance(other, one) == pytest.approx(12.0, abs=1e-9)


def test_the_frechet_distance_is_that_of_scipys_matrix_root() -> None:
    from scipy.linalg import sqrtm

    one, other = cloud(gaussian(60, 5)), cloud(2 * gaussian(50, 5, seed=1) + 0.3)
    a, b = one.covariance.numpy(), other.covariance.numpy()
    gap = (one.mean - other.mean).square().sum().item()
    expected = gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)


def test_the_kernel_distance_is_the_unbiased_estimate_over_all_pairs() -> None:
    x, y = gaussian(40, 6).double().numpy(), (gaussian(40, 6, seed=1) + 0.5).double().numpy()

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / 6 + 1) ** 3)

    same = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(40) for j in range(40) if i != j) / (40 * 39)
    mixed = sum(kernel(u, v) for u in x for v in y) / 40**2
    found = kernel_distance(cloud(torch.from_numpy(x).float()), cloud(torch.from_numpy(y).float()))
    assert found == pytest.approx(same - 2 * mixed, rel=1e-5)


def test_moments_do_not_depend_on_how_features_are_batched() -> None:
    values = 1000 + gaussian(101, 4)  # far from the origin, where naive sums of squares lose their digits
    for size in (1, 7, 101):
        moments = Moments()
        for batch in values.split(size):
            moments.add(batch)
        assert moments.mean.dtype == torch.float64
        np.testing.assert_allclose(moments.mean, values.double().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance, np.cov(values.double().numpy(), rowvar=False), rtol=1e-9)


def test_distances_grow_as_a_cloud_moves_away() -> None:
    real = cloud(gaussian(200, 8))
    found = [distances(cloud(gaussian(200, 8, seed=1) + shift), real) for shift in (0.0, 0.5, 1.0)]
    for name in ("frechet_distance", "kernel_distance"):
        assert found[0][name] < found[1][name] < found[2][name]


def test_precision_and_recall_of_clouds_that_do_not_meet_are_zero() -> None:
    found = distances(cloud(gaussian(50, 4) + 100), cloud(gaussian(50, 4)))
    assert (found["precision"], found["recall"]) == (0, 0)


def test_precision_misses_what_is_false_and_recall_what_is_missing() -> None:
    near, far = gaussian(100, 4), gaussian(100, 4, seed=1) + 100
    whole, part = cloud(torch.cat([near, far])), cloud(near)
    assert distances(part, whole)["recall"] == pytest.approx(0.5)
    assert distances(part, whole)["precision"] == 1
    assert distances(whole, part)["precision"] == pytest.approx(0.5)
    assert distances(whole, part)["recall"] == 1


def test_a_feature_set_is_what_it_was_after_packing() -> None:
    packed = FeatureSet.unpack(cloud(gaussian(20, 3)).pack())
    original = cloud(gaussian(20, 3))
    assert packed.values.equal(original.values)
    assert packed.mean.equal(original.mean)
    assert packed.covariance.equal(original.covariance)
    assert packed.logits is None


def test_inception_names_its_metrics_and_finds_a_set_at_no_distance_from_itself(inception_weights: bytes) -> None:
    images = torch.randint(0, 256, (40, 1, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    extractor = Inception(state_dict_of(inception_weights), torch.device("cpu"), "64")
    found = feature_set(images.split(20), extractor)
    assert found.values.shape == (40, 64)
    metrics = distances(found, found)
    assert metrics.keys() == {"fid", "kid", "inception_score", "precision", "recall"}
    assert metrics["fid"] == pytest.approx(0, abs=1e-6)
    assert abs(metrics["kid"]) < 1e-6 + abs(_bias(found.values))
    assert metrics["inception_score"] >= 1
    assert (metrics["precision"], metrics["recall"]) == (1, 1)


def test_the_inception_score_is_that_of_the_fakes() -> None:
    sure, unsure = 20 * torch.eye(4).repeat(25, 1), torch.zeros(100, 4)
    values = gaussian(100, 3)
    fakes, real = replace(cloud(values), logits=sure), replace(cloud(values), logits=unsure)
    assert distances(fakes, real)["inception_score"] > 3  # 4 but for how few there are in a split
    assert distances(real, fakes)["inception_score"] == pytest.approx(1)


def test_the_kernel_distance_keeps_its_digits_where_features_are_large() -> None:
    one, other = 300 + gaussian(50, 4), 300 + gaussian(50, 4, seed=1)

    def mean(x: Tensor, y: Tensor, pairs: Tensor) -> float:
        return float((((x.double() @ y.double().T) / 4 + 1) ** 3)[pairs].mean())

    apart, all_pairs = ~torch.eye(50, dtype=torch.bool), torch.ones(50, 50, dtype=torch.bool)
    expected = mean(one, one, apart) + mean(other, other, apart) - 2 * mean(one, other, all_pairs)
    assert kernel_distance(cloud(one), cloud(other)) == pytest.approx(expected, rel=1e-6)


def test_of_many_images_the_kernel_distance_is_the_mean_over_subsets_that_kid_is_defined_by() -> None:
    one, other = gaussian(5001, 2), gaussian(5001, 2, seed=1) + 0.1
    theirs = kid_features_to_metric(one.double(), other.double(), verbose=False)
    found = kernel_distance(*(FeatureSet(v, v.mean(0), torch.eye(2)) for v in (one, other)))
    assert found == theirs["kernel_inception_distance_mean"]


class Pictures(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_fid_and_its_kin_are_those_that_torch_fidelity_computes_by_itself(
    inception_weights: bytes, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(inception_weights)
    noise = generator(0, "images")
    fakes = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8, generator=noise)
    real = torch.randint(0, 200, (70, 3, 32, 32), dtype=torch.uint8, generator=noise)
    theirs = calculate_metrics(
        input1=Pictures(fakes),
        input2=Pictures(real),
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=1,
        kid_subset_size=70,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        **{f"feature_layer_{metric}": "64" for metric in ("fid", "kid", "prc")},
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    extractor = Inception(state_dict_of(inception_weights), torch.device("cpu"), "64", logits=False)
    ours = distances(*(feature_set([images], extractor.__call__) for images in (fakes, real)))
    assert ours["frechet_distance"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert ours["kernel_distance"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3, abs=1e-6)
    assert (ours["precision"], ours["recall"]) == pytest.approx((theirs["precision"], theirs["recall"]))


def _bias(values: Tensor) -> float:
    """What the unbiased estimate finds between a set and itself: twice the off-diagonal mean less the whole mean."""
    kernel = (values.double() @ values.double().T / values.shape[1] + 1) ** 3
    count = len(values)
    return float(2 * (kernel.sum() - kernel.trace()) / (count * (count - 1)) - 2 * kernel.mean())
