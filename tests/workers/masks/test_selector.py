import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from search_spaces.base.sparsity import density_after
from workers.masks import Mask, drawn_of, keep_top
from workers.masks.selector import Ranking, tie_breaker
from workers.pruning import magnitude, random, shuffle_layers


def scores(*sizes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"layer{i}.weight": torch.rand(size, generator=generator) for i, size in enumerate(sizes)}


def test_pruning_a_fifth_of_ten_removes_exactly_two() -> None:
    assert keep_top(scores(10), 0.8).kept == 8
    assert keep_top({"w": torch.zeros(10)}, 0.8).kept == 8


@given(st.integers(1, 300), st.floats(0, 1), st.integers(1, 5))
def test_the_kept_count_is_exact_with_ties_too(size: int, density: float, levels: int) -> None:
    ties = {"a": torch.randint(levels, (size,)).float(), "b": torch.randint(levels, (7, 3)).float()}
    assert keep_top(ties, density).kept == round((size + 21) * density)


def test_the_best_are_kept() -> None:
    kept = keep_top({"a": torch.tensor([0.1, 0.9]), "b": torch.tensor([[0.5], [0.8]])}, 0.5)
    assert kept["a"].tolist() == [False, True]
    assert kept["b"].tolist() == [[False], [True]]


def test_a_seeded_draw_decides_among_equal_scores_wherever_they_are() -> None:
    equal = {"a": torch.ones(1000), "b": torch.ones(3000)}
    kept = keep_top(equal, 0.25, noise=tie_breaker(3))
    assert kept.kept == 1000
    assert 200 < kept.counts["a"] < 300  # 250 on average, with a standard deviation of 12; by index it was 1000
    assert keep_top(equal, 0.25, noise=tie_breaker(3)) == kept
    overlap = kept.jaccard(keep_top(equal, 0.25, noise=tie_breaker(4)))
    assert overlap == pytest.approx(0.25 / 1.75, abs=0.03)  # that of two independent draws


def test_only_what_ties_at_the_edge_is_drawn() -> None:
    values = torch.tensor([5.0, 4, 4, 4, 4, 3, 3, 0, 0, 0])
    for seed, count in itertools.product(range(5), range(11)):
        kept = keep_top({"w": values}, count / 10, noise=tie_breaker(seed))
        best, rest = values[kept["w"]], values[~kept["w"]]
        assert sorted([*best.tolist(), *rest.tolist()], reverse=True) == values.tolist()
        assert not len(best) or not len(rest) or best.min() >= rest.max()
        drawn = {2: 1, 3: 2, 4: 3, 6: 1, 8: 1, 9: 2}.get(count, 0)
        assert drawn_of({"w": values}, kept).kept == drawn


@pytest.mark.parametrize(("ranking", "drawn"), [("global", 0), ("per_component", 2), ("layerwise", 2)])
def test_what_was_drawn_is_told_of_what_is_ranked_together(ranking: Ranking, drawn: int) -> None:
    values = {"e.a": torch.tensor([2.0, 1, 1, 0]), "e.b": torch.tensor([9.0, 8, 1, 0]), "d.a": torch.tensor([2.0, 2])}
    kept = keep_top(values, 0.5, ranking=ranking)
    found = drawn_of(values, kept, ranking=ranking)
    assert found & kept == found
    assert found.kept == drawn


def test_what_was_left_out_before_ties_with_nothing() -> None:
    values, within = {"w": torch.tensor([1.0, 1, 1, 0])}, Mask({"w": torch.tensor([True, False, True, True])})
    kept = keep_top(values, 0.5, within)
    assert kept["w"].tolist() == [True, False, True, False]
    assert not drawn_of(values, kept, within).kept
    assert drawn_of(values, kept).kept == 2


def test_only_what_is_left_can_be_kept() -> None:
    within = Mask({"w": torch.tensor([False, True, True, True])})
    kept = keep_top({"w": torch.tensor([9.0, 1.0, 3.0, 2.0])}, 0.5, within=within)
    assert kept["w"].tolist() == [False, False, True, True]


@pytest.mark.parametrize("size", [10, 97, 1000, 12345])
def test_twenty_rounds_nest_and_follow_the_grid(size: int) -> None:
    mask = None
    for k in range(1, 21):
        smaller = keep_top(scores(size, seed=k), density_after(k), within=mask)
        if mask is not None:
            assert smaller & mask == smaller
        assert abs(smaller.kept - size * 0.8**k) <= 1
        mask = smaller


def test_scopes_rank_together_by_component_or_by_layer() -> None:
    values = {"e.a": torch.tensor([1.0, 2.0]), "e.b": torch.tensor([3.0, 4.0]), "d.a": torch.tensor([5.0, 6.0])}
    assert keep_top(values, 0.5).counts == {"e.a": 0, "e.b": 1, "d.a": 2}
    assert keep_top(values, 0.5, ranking="per_component").counts == {"e.a": 0, "e.b": 2, "d.a": 1}
    assert keep_top(values, 0.5, ranking="layerwise").counts == {"e.a": 1, "e.b": 1, "d.a": 1}


@pytest.mark.parametrize(
    ("density", "within", "message"),
    [(1.1, None, "outside"), (-0.1, None, "outside"), (0.9, torch.tensor([True, False]), "only 1 are left")],
)
def test_what_cannot_be_selected_is_refused(density: float, within: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keep_top({"w": torch.ones(2)}, density, None if within is None else Mask({"w": within}))


def test_nan_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="NaN"):
        keep_top({"w": torch.tensor([1.0, float("nan")])}, 0.5)


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.9])
def test_global_magnitude_agrees_with_torch(sparsity: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 3), nn.Linear(4, 5))
    weights = {f"{i}.weight": module.weight.detach().clone() for i, module in enumerate(network)}
    ours = keep_top(magnitude(weights), 1 - sparsity)
    pairs = [(module, "weight") for module in network]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=ours.size - ours.kept)
    for i, module in enumerate(network):
        assert ours[f"{i}.weight"].equal(module.weight_mask.bool())


def test_random_scores_come_from_their_generator_alone() -> None:
    parameters = {"a": torch.zeros(4, 5), "b": torch.zeros(3)}
    state = torch.get_rng_state()
    first, second = (random(parameters, torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(first[name].equal(second[name]) and first[name].shape == p.shape for name, p in parameters.items())
    assert torch.get_rng_state().equal(state)


def test_shuffling_keeps_every_layers_count_and_moves_its_weights() -> None:
    mask = keep_top(scores(500, 300), 0.3)
    shuffled = shuffle_layers(mask, torch.Generator().manual_seed(0))
    assert shuffled.counts == mask.counts
    assert 0.1 < shuffled.jaccard(mask) < 0.3  # chance: d / (2 - d) = 0.18


def test_a_mask_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="of another network"):
        keep_top({"w": torch.ones(2, 3)}, 0.5, Mask({"w": torch.ones(3, 2, dtype=torch.bool)}))


def test_shuffling_is_drawn_from_its_generator_weight_by_weight() -> None:
    mask = keep_top(scores(500, 300), 0.3)
    first, again, other = (shuffle_layers(mask, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.jaccard(other) < 0.3
