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


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_mcnemar_is_the_binomial_test_of_differing_pairs(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    gained, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
    reference = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert s.mcnemar_exact(first, second) == pytest.approx(min(1.0, reference), rel=1e-9)


def test_newcombe_paired_interval_known_value() -> None:
    # Newcombe 1998, table II: a=36 both, b=12 first only, c=2 second only, d=0: first minus second 0.2, method 10: 0.0569 to 0.3404.
    first = [True] * 36 + [True] * 12 + [False] * 2
    second = [True] * 36 + [False] * 12 + [True] * 2
    low, high = s.paired_difference(second, first)
    assert (low, high) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    mirrored = s.paired_difference(first, second)
    assert mirrored == pytest.approx((-high, -low), abs=1e-12)


def test_newcombe_covers_the_truth_and_does_not_collapse() -> None:
    low, high = s.paired_difference([False] * 20, [True] * 20)
    assert 0.6 < low < 0.9
    assert high == 1.0
    random, inside = np.random.default_rng(0), 0
    for _ in range(400):
        shared = random.random(30)
        first, second = shared < 0.3, np.where(random.random(30) < 0.5, shared, random.random(30)) < 0.6
        low, high = s.paired_difference(first.tolist(), second.tolist())
        inside += low <= 0.3 <= high
    assert inside / 400 > 0.92


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


def test_holm_known_values() -> None:
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert s.holm([]) == []
    assert s.holm([0.9, 0.8]) == [1.0, 1.0]


def test_retention_has_three_verdicts() -> None:
    wins, losses = [True] * 60, [False] * 60
    assert s.retention(wins, wins) == ("kept", 0)
    assert s.retention(wins, losses) == ("lost", 0)
    verdict, further = s.retention([True, False, True], [True, True, False])
    assert verdict == "cannot tell yet"
    assert further > 3
    # The forecast is honest: with that many more of the same kind, it is settled.
    first, second = [True] * 18 + [False] * 2, [True] * 17 + [False, True, False]
    verdict, further = s.retention(first, second)
    assert verdict == "cannot tell yet"
    times = (20 + further) // 20 + 1
    assert s.retention(first * times, second * times)[0] != "cannot tell yet"


def test_unequal_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="same seeds"):
        s.mcnemar_exact([True], [True, False])
    with pytest.raises(UserError, match="same seeds"):
        s.paired_difference([], [])
