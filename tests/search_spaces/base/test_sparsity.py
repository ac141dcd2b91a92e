import pytest

from search_spaces.base.sparsity import density_of, geometric, snapped, sparsity_after


def test_rounds_give_the_sparsities_of_the_paper() -> None:
    percent = [round(100 * sparsity_after(k), 2) for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20)]
    assert percent == [20, 36, 48.8, 59.04, 67.23, 73.79, 79.03, 83.22, 86.58, 89.26, 98.85]


@pytest.mark.parametrize("rounds", range(61))
def test_a_number_next_to_a_round_is_that_round(rounds: int) -> None:
    assert snapped(1 - 0.8**rounds) == sparsity_after(rounds)
    assert snapped(sparsity_after(rounds) + 9e-10) == sparsity_after(rounds)


def test_a_number_off_the_grid_stays_itself() -> None:
    assert snapped(0.5) == 0.5
    assert snapped(0.36 + 1e-8) == 0.36000001


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 20.0, float("nan"), float("inf")])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\)"):
        snapped(sparsity)


def test_percent_are_told_apart_from_fractions() -> None:
    with pytest.raises(ValueError, match=r"write 0\.2 for 20 %"):
        snapped(20)


@pytest.mark.parametrize("rounds", range(1, 61))
def test_rounds_on_the_grid_are_one_chain(rounds: int) -> None:
    longer = geometric(density_of(sparsity_after(rounds + 1)), 0.2)
    assert geometric(density_of(sparsity_after(rounds)), 0.2) == longer[:-1]
    assert len(longer) == rounds + 1


def test_a_target_off_the_grid_ends_exactly_there() -> None:
    assert geometric(0.5, 0.2) == [0.8, 0.64, 0.512, 0.5]


def test_dense_needs_no_round() -> None:
    assert geometric(1.0, 0.2) == []
