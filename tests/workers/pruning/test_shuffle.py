from collections import Counter
from collections.abc import Callable

import pytest
import torch

from workers.masks import Mask
from workers.pruning import erk, random_global, shuffle_filters, shuffle_layers

SHAPES = {"conv.weight": (16, 3, 4, 4), "up.weight": (8, 16, 4, 4), "linear.weight": (10, 40)}
AXES = {"conv.weight": 0, "up.weight": 1, "linear.weight": 0}


def mask(density: float, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Mask:
    """Filters of unequal density, so that moving them shows."""
    generator = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(shape, generator=generator).pow(2) < density for name, shape in shapes.items()})


def exactly(count: int, shapes: dict[str, tuple[int, ...]]) -> Mask:
    """The first `count` weights."""
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    parts = (torch.arange(sum(sizes)) < count).split(sizes)
    return Mask({name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)})


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filters(m: Mask, name: str) -> list[tuple[bool, ...]]:
    return [tuple(part.flatten().tolist()) for part in m[name].unbind(AXES[name])]


def test_shuffled_filters_are_the_same_filters_elsewhere() -> None:
    original = mask(0.2)
    shuffled = shuffle_filters(original, drawn(0), AXES)
    for name in original:
        assert Counter(filters(shuffled, name)) == Counter(filters(original, name))
        assert filters(shuffled, name) != filters(original, name)
    assert list(shuffled) == list(original)


def test_filters_go_to_every_place_alike() -> None:
    one = Mask({"w": torch.tensor([[True], [False], [False], [False]])})
    places = Counter(shuffle_filters(one, drawn(seed), {"w": 0})["w"].int().argmax().item() for seed in range(400))
    assert sorted(places) == [0, 1, 2, 3]
    assert all(60 < count < 140 for count in places.values())  # 100 each, give or take 4.6 standard deviations


@pytest.mark.parametrize("rearrange", [random_global, erk])
@pytest.mark.parametrize("density", [0.0, 0.013, 0.2, 0.5, 0.77, 1.0])
def test_as_many_weights_are_kept(rearrange: Callable[[Mask, torch.Generator], Mask], density: float) -> None:
    size = mask(1).size
    original = exactly(round(size * density), SHAPES)
    moved = rearrange(original, drawn(0))
    assert moved.kept == original.kept
    assert {name: kept.shape for name, kept in moved.items()} == {name: kept.shape for name, kept in original.items()}


def test_random_global_fills_all_tensors_alike() -> None:
    shapes = {"a": (100, 100), "b": (50, 2, 10, 10), "c": (1000,)}
    moved = random_global(exactly(6300, shapes), drawn(0))
    # density 0.3; six standard deviations of a hypergeometric count are at most 6 sqrt(n * 0.3 * 0.7)
    for name, count in moved.counts.items():
        size = moved[name].numel()
        assert abs(count - 0.3 * size) < 6 * (size * 0.21) ** 0.5
    assert 0.1 < moved.jaccard(exactly(6300, shapes)) < 0.25  # chance: d / (2 - d) = 0.18


def test_erk_densities_follow_the_sum_over_the_product_of_shapes() -> None:
    shapes = {"conv": (64, 32, 3, 3), "linear": (100, 200), "deep": (128, 64, 3, 3)}
    moved = erk(exactly(7960, shapes), drawn(0))
    # sums 102 + 300 + 198 = 600, so each unit of a sum keeps 7960 / 600 = 13.2667 weights: 1353.2, 3980, 2626.8
    assert moved.counts == {"conv": 1353, "linear": 3980, "deep": 2627}


def test_erk_fills_small_layers_and_shares_the_rest_among_the_others() -> None:
    shapes = {"tiny": (2, 3), "small": (10, 12), "large": (100, 100), "larger": (100, 300)}
    moved = erk(exactly(4000, shapes), drawn(0))
    # 4000 / 627 = 6.4 a unit fills tiny (5 units, 6 weights) and small (22, 120); 3874 / 600 = 6.4567 is left a unit
    assert moved.counts == {"tiny": 6, "small": 120, "large": 1291, "larger": 2583}


def test_erk_fills_a_layer_that_only_the_second_sharing_fills() -> None:
    shapes = {"first": (1, 1), "second": (2, 2), "third": (40, 40)}
    # shares of 87: 2/86, 4/86, 80/86 of it: first 2.02 > 1, second 4.05 > 4
    assert erk(exactly(87, shapes), drawn(0)).counts == {"first": 1, "second": 4, "third": 82}
    # of 85: first 1.98 > 1, second 3.95; then 84 * 4/84 = 4, just full
    assert erk(exactly(85, shapes), drawn(0)).counts == {"first": 1, "second": 4, "third": 80}
    # of 86: first 2 > 1, second 4, just full; then 85 * 4/84 = 4.05 > 4
    assert erk(exactly(86, shapes), drawn(0)).counts == {"first": 1, "second": 4, "third": 81}


def test_erk_gives_what_rounding_leaves_to_the_largest_remainders_then_to_earlier_layers() -> None:
    shapes = {"a": (10, 10), "b": (10, 20), "c": (10, 10)}
    # shares of 10: 2.857, 4.286, 2.857; of 9: 2.571, 3.857, 2.571
    assert erk(exactly(10, shapes), drawn(0)).counts == {"a": 3, "b": 4, "c": 3}
    assert erk(exactly(9, shapes), drawn(0)).counts == {"a": 3, "b": 4, "c": 2}


def test_erk_draws_its_places_uniformly() -> None:
    original = exactly(50, {"w": (10, 10)})
    often = sum(erk(original, drawn(seed))["w"].double() for seed in range(400)) / 400
    assert (often - 0.5).abs().max() < 0.125  # five standard deviations


@pytest.mark.parametrize(
    "rearrange",
    [shuffle_layers, random_global, erk, lambda m, generator: shuffle_filters(m, generator, AXES)],
    ids=["shuffle_layers", "random_global", "erk", "shuffle_filters"],
)
def test_rearrangements_are_drawn_from_their_generator_alone(rearrange: Callable[..., Mask]) -> None:
    original, state = mask(0.2), torch.get_rng_state()
    packed = original.pack()
    first, again, other = (rearrange(original, drawn(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert original.pack() == packed
    assert torch.get_rng_state().equal(state)
