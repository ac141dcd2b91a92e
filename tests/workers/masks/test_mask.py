import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.masks import Mask

SHAPES = {"a.weight": (3, 4), "b.weight": (700,), "c.weight": (2, 3, 4, 5)}


def mask(density: float, seed: int = 0) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(shape, generator=generator) < density for name, shape in SHAPES.items()})


@given(st.floats(0, 1), st.integers(0, 1000))
def test_packing_is_undone(density: float, seed: int) -> None:
    original = mask(density, seed)
    restored = Mask.unpack(original.pack())
    assert restored == original
    assert list(restored) == list(original)


@given(st.lists(st.booleans(), min_size=0, max_size=40), st.integers(0, 600))
def test_packing_survives_long_gaps_and_odd_sizes(bits: list[bool], gap: int) -> None:
    tensor = torch.tensor([*bits, *[False] * gap, True])
    assert Mask.unpack(Mask({"x": tensor}).pack())["x"].equal(tensor)


def test_packing_is_the_same_for_equal_masks() -> None:
    assert mask(0.3).pack() == mask(0.3).pack()
    assert mask(0.3).pack() != mask(0.3, seed=1).pack()
    assert Mask({"w": torch.ones(4, 4, dtype=torch.bool).t()}).pack() == Mask.dense({"w": torch.zeros(4, 4)}).pack()


@pytest.mark.parametrize("sparsity", [0.2, 0.36, 0.5, 0.67, 0.8, 0.9, 0.95, 0.98, 0.99])
def test_packed_masks_come_close_to_the_entropy_bound(sparsity: float) -> None:
    size = 2_000_000
    kept = torch.rand(size, generator=torch.Generator().manual_seed(0)) >= sparsity
    bound = -size * (sparsity * math.log2(sparsity) + (1 - sparsity) * math.log2(1 - sparsity)) / 8
    assert len(Mask({"w": kept}).pack()) <= 1.05 * bound


def test_counts_and_sparsity() -> None:
    m = Mask({"a": torch.tensor([True, False, False, True]), "b": torch.tensor([[False], [False]])})
    assert (m.size, m.kept, m.counts) == (6, 2, {"a": 2, "b": 0})
    assert m.sparsity == pytest.approx(4 / 6)


def test_overlap_of_masks() -> None:
    left = Mask({"a": torch.tensor([True, True, False, False])})
    right = Mask({"a": torch.tensor([True, False, True, False])})
    assert (left & right)["a"].tolist() == [True, False, False, False]
    assert left.jaccard(right) == pytest.approx(1 / 3)
    assert left.hamming(right) == pytest.approx(2 / 4)
    assert left.jaccard(left) == 1.0
    assert left.hamming(left) == 0.0


def test_masks_of_different_networks_do_not_mix() -> None:
    with pytest.raises(ValueError, match="different networks"):
        mask(0.5) & Mask({"a.weight": torch.ones(3, 4, dtype=torch.bool)})


def test_a_mask_does_not_change_with_what_it_was_made_of() -> None:
    tensors = {"a": torch.tensor([True, False])}
    m = Mask(tensors)
    tensors["b"] = torch.tensor([True])
    tensors["a"].fill_(True)
    assert list(m) == ["a"]
    assert m["a"].tolist() == [True, False]


def test_a_tensor_that_was_handed_out_does_not_change_the_mask() -> None:
    m = Mask({"a": torch.tensor([True, False])})
    m["a"].fill_(False)
    assert m.kept == 1


def test_a_network_without_weights_is_dense() -> None:
    assert Mask({}).sparsity == 0.0
