"""The detector of masks at rest, on sequences written out."""

import pytest
import torch

from workers.masks import Emergence, Mask

SIZE = 100


def mask(kept: range, size: int = SIZE) -> Mask:
    """A mask of two tensors that keeps a range of their entries."""
    flat = torch.zeros(size, dtype=torch.bool)
    flat[kept.start : kept.stop] = True
    return Mask({"a": flat[: size // 3], "b": flat[size // 3 :].reshape(-1, 1)})


def verdicts(emergence: Emergence, *masks: Mask) -> list[bool]:
    return [emergence.see(one, decided=True) for one in masks]


@pytest.mark.parametrize("look_back", [2, 3, 5])
def test_a_constant_mask_rests_as_soon_as_enough_were_seen(look_back: int) -> None:
    assert verdicts(Emergence(look_back, 0.1), *[mask(range(50))] * 7) == [n >= look_back for n in range(1, 8)]


# Products that come out above the whole number in floating point, below it, and on it.
BOUNDS = [(0.1, 30, 3), (0.1, 70, 7), (0.3, 10, 3), (0.07, 100, 7), (0.29, 100, 29), (0.57, 100, 57), (0.25, 100, 25)]


@pytest.mark.parametrize(("delta", "total", "allowed"), BOUNDS)
def test_a_distance_of_exactly_delta_is_rest_and_one_entry_more_is_not(delta: float, total: int, allowed: int) -> None:
    older = [mask(range(total), total)] * 4
    assert verdicts(Emergence(5, delta), *older, mask(range(allowed, total), total))[-1]
    assert not verdicts(Emergence(5, delta), *older, mask(range(allowed + 1, total), total))[-1]


def test_no_distance_at_all_may_be_asked_for() -> None:
    assert verdicts(Emergence(2, 0.0), mask(range(50)), mask(range(49)), mask(range(49))) == [False, False, True]


def test_the_newest_mask_is_compared_with_each_older_one_and_not_with_its_neighbour_alone() -> None:
    # Each step moves 4 of 100 entries, so the newest is 16 away from the oldest of five, and 8 from that of three.
    drift = [mask(range(2 * n, 2 * n + 50)) for n in range(12)]
    assert not any(verdicts(Emergence(5, 0.1), *drift))
    assert verdicts(Emergence(3, 0.1), *drift) == [False, False] + [True] * 10


@pytest.mark.parametrize("place", range(4))
def test_one_older_mask_that_is_far_off_prevents_rest_while_it_is_among_the_five(place: int) -> None:
    masks = [mask(range(50))] * 9
    masks[place] = mask(range(11, 50))
    assert verdicts(Emergence(5, 0.1), *masks) == [n >= 5 and n > place + 5 for n in range(1, 10)]


def test_older_masks_may_differ_more_from_each_other_than_from_the_newest() -> None:
    left, right, middle = mask(range(50)), mask(range(16)), mask(range(33))
    assert left.hamming(right) > 0.17 >= max(left.hamming(middle), right.hamming(middle))
    assert verdicts(Emergence(3, 0.17), left, right, middle) == [False, False, True]


@pytest.mark.parametrize("undecided", range(1, 6))
def test_a_mask_that_ties_decided_prevents_rest_until_it_has_left(undecided: int) -> None:
    emergence = Emergence(5, 0.1)
    seen = [emergence.see(mask(range(50)), decided=epoch != undecided) for epoch in range(1, 12)]
    assert seen == [epoch >= undecided + 5 for epoch in range(1, 12)]


def test_every_pair_has_its_distance() -> None:
    emergence = Emergence(2, 0.1)
    verdicts(emergence, mask(range(50)), mask(range(46)), mask(range(10, 46)), mask(range(50)))
    assert emergence.distances == [(2, 1, 0.04), (3, 1, 0.14), (3, 2, 0.1), (4, 1, 0.0), (4, 2, 0.04), (4, 3, 0.14)]
    assert emergence.epoch == 4


def test_nearest_is_the_least_delta_with_which_a_mask_would_have_emerged() -> None:
    masks = [mask(range(kept)) for kept in (10, 50, 44, 49, 40, 47, 20)]  # 49 is 5 from 44, 1 from 50, and 39 from 10
    emergence = Emergence(3, 0.0)
    assert not any(verdicts(emergence, *masks[:2]))
    assert emergence.nearest == 1
    assert not any(verdicts(emergence, *masks[2:]))
    assert emergence.nearest == 0.05
    assert any(verdicts(Emergence(3, 0.05), *masks))
    assert not any(verdicts(Emergence(3, 0.049), *masks))


def test_masks_that_ties_decided_are_near_to_nothing() -> None:
    emergence = Emergence(2, 0.0)
    for epoch, kept in enumerate([50, 50, 50, 47]):
        emergence.see(mask(range(kept)), decided=epoch > 1)
    assert emergence.nearest == 0.03
