"""Statistics against scipy and published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steve1.core.errors import UserError
from steve1.evaluation.statistics import tests as s


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    wins, n = counts
    reference = stats.binomtest(wins, n).proportion_ci(0.95, method="wilson")
    assert s.wilson(wins, n) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_wilson_known_values() -> None:
    assert s.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert s.wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    with pytest.raises(UserError, match="not counts"):
        s.wilson(3, 2)
    with pytest.raises(UserError, match="not counts"):
        s.wilson(0, 0)


def test_episodes_of_one_group_are_worth_less_than_independent_ones() -> None:
    alike, groups = [1.0] * 8 + [0.0] * 8 + [1.0] * 8 + [0.0] * 8, [number // 8 for number in range(32)]
    error = s.clustered_error(alike, groups)
    assert error == pytest.approx(np.std([1, 0, 1, 0], ddof=1) / 2)
    assert s.worth(0.5, 32, error) == pytest.approx(3), "four groups, one of which the mean takes"
    mixed = [float(number % 2) for number in range(32)]
    assert s.clustered_error(mixed, groups) == pytest.approx(np.std(mixed) / 32**0.5), "groups that agree by luck"
    assert s.worth(0.5, 32, s.clustered_error(mixed, groups)) == pytest.approx(32)
    assert s.clustered_error(alike, [0] * 32) == pytest.approx(np.std(alike) / 32**0.5), "nothing to compare with"
    assert s.worth(0.0, 32, 0.0) == s.worth(1.0, 32, 0.0) == 32
    assert s.worth(0.5, 32, 9.0) == 1


def test_an_interval_of_grouped_episodes_holds_as_often_as_it_says() -> None:
    """Where half of the places always succeed, that of independent episodes misses the true rate half of the time."""
    rng = np.random.default_rng(0)
    groups, held, held_alone = [number // 8 for number in range(128)], 0, 0
    for _ in range(500):
        won = np.repeat(rng.random(16) < 0.5, 8).astype(float)
        rate, count = float(won.mean()), s.worth(float(won.mean()), 128, s.clustered_error(won.tolist(), groups))
        low, high = s.wilson(rate * count, count)
        held += low <= 0.5 <= high
        low, high = s.wilson(float(won.sum()), 128)
        held_alone += low <= 0.5 <= high
    assert held >= 0.92 * 500
    assert held_alone < 0.7 * 500


def size(pairs: int, share: float, alpha: float = 0.05) -> float:
    """How often equal rates are called different, where `share` of the pairs differ: exact, over all tables."""
    total = 0.0
    for gained in range(pairs + 1):
        for lost in range(pairs + 1 - gained):
            if s.paired_test(pairs, gained, lost).p < alpha:
                total += float(
                    stats.multinomial.pmf(
                        (gained, lost, pairs - gained - lost), pairs, (share / 2, share / 2, 1 - share)
                    )
                )
    return total


@pytest.mark.parametrize("pairs", [4, 6, 10, 20])
def test_equal_rates_are_called_different_in_at_most_five_of_a_hundred(pairs: int) -> None:
    found = [size(pairs, share) for share in np.linspace(0.02, 1, 25)]
    assert max(found) <= 0.0502
    assert max(found) > 0.03 or pairs < 6, "and the test is not needlessly timid"


def test_the_test_by_brute_force() -> None:
    """Three of six gained: the tail of all tables with a score of at least √3, at the worst share of differing pairs."""
    worst = 0.0
    for share in np.linspace(0, 1, 2001):
        tail = 0.0
        for gained in range(7):
            for lost in range(7 - gained):
                if gained > lost and (gained - lost) ** 2 >= 3 * (gained + lost):
                    tail += float(
                        stats.multinomial.pmf((gained, lost, 6 - gained - lost), 6, (share / 2, share / 2, 1 - share))
                    )
        worst = max(worst, tail)
    assert s.paired_test(6, 3, 0).p == pytest.approx(2 * worst, abs=1e-3)


def test_the_interval_holds_the_truth_at_its_worst_as_well() -> None:
    """Coverage, exact over all tables, for differences from 0 to nearly 1 and several shares of differing pairs."""
    pairs = 12
    for difference in (0.0, 0.1, 0.3, 0.6, 0.9):
        for share in {difference, (1 + difference) / 2, 1.0}:
            up, down = (share + difference) / 2, (share - difference) / 2
            covered = 0.0
            for gained in range(pairs + 1):
                for lost in range(pairs + 1 - gained):
                    found = s.paired_test(pairs, gained, lost)
                    if found.low <= difference <= found.high:
                        covered += float(
                            stats.multinomial.pmf((gained, lost, pairs - gained - lost), pairs, (up, down, 1 - share))
                        )
            assert covered >= 0.949


def test_the_score_is_tango_s() -> None:
    # Tango 1998, example of Altman (1991): 32 pairs, 3 and 1 that differ: difference 0.0625, 95 % interval -0.0757 to 0.2057.
    low, high = -0.0757, 0.2057
    for end, wanted in ((low, 1.96), (high, -1.96)):
        found, _ = s.score(32, 3, 1, end)
        assert float(found) == pytest.approx(wanted, abs=0.25)


def test_small_and_large_samples_meet() -> None:
    exact, normal = s.paired_test(200, 40, 20), s.paired_test(201, 40, 20)
    assert exact.p == pytest.approx(normal.p, abs=2e-3)
    assert (exact.low, exact.high) == pytest.approx((normal.low, normal.high), abs=0.01)


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 4, 0), (3, 2, 2), (5, -1, 0)])
def test_impossible_pairs_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="not counts of pairs"):
        s.paired_test(*counts)


def test_a_bootstrap_of_few_values_is_wide_enough() -> None:
    """Plain percentiles of six values hold the truth in about 86 of 100 cases; these in 93 or more."""
    random = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        low, high = s.bootstrap_difference(np.zeros(6), random.normal(1, 1, 6), draws=2000)
        inside += low <= 1 <= high
    assert inside / 300 > 0.92


def test_bootstrap_against_the_normal_interval() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(0, 1, 400), random.normal(0.5, 1, 400)
    low, high = s.bootstrap_difference(a, b)
    half = 1.96 * np.sqrt(a.var() / 400 + b.var() / 400)
    centre = b.mean() - a.mean()
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=0.02)
    assert s.bootstrap_difference(a, b) == s.bootstrap_difference(a, b)
    paired = s.bootstrap_difference(a, a + 0.5)
    assert paired == pytest.approx((0.5, 0.5))
    with pytest.raises(UserError):
        s.bootstrap_difference([1, 0], [1])


def test_an_interval_of_shares_is_exact_where_it_can_be_and_says_nothing_of_too_few() -> None:
    exact = s.paired_test(6, 6, 0, 0.95)
    assert s.mean_interval([0] * 6, [1] * 6) == (exact.low, exact.high)
    assert s.mean_interval([0], [1])[0] < 0
    halves = [0.5, 1.0, 0.5, 1.0, 0.5, 1.0]
    assert s.mean_interval([0.0] * 6, halves)[0] > 0
    assert s.mean_interval([0.0] * 5, halves[:5]) == (-1.0, 1.0), "all five in one direction: one of sixteen cases"
    assert s.mean_interval([0.0] * 6, halves, 0.99) == (-1.0, 1.0), "the more certain, the more are needed"
    with pytest.raises(UserError, match="results of both"):
        s.mean_interval([], [])


def test_holm_known_values() -> None:
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert s.holm([]) == []
    assert s.holm([0.9, 0.8]) == [1.0, 1.0]
