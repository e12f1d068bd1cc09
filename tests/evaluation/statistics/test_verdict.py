"""The verdict on a task: its table, its agreement with p and interval, and the honesty of its forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1.evaluation.statistics.tests import bootstrap_difference, look_confidence
from steve1.evaluation.statistics.verdict import MARGIN, MOST_FURTHER, Verdict, decide, further

# (pairs, gained, lost, successes of the first) → kind, settled
TARGETS = [
    # both directions, sure and not
    ((20, 13, 0, 0), "better", True),
    ((20, 0, 13, 13), "worse", True),
    ((20, 6, 2, 8), "looks better", False),
    ((20, 2, 6, 14), "looks worse", False),
    ((20, 1, 0, 10), "looks better", False),
    ((300, 0, 12, 200), "worse", True),  # within the margin, and certain
    # few episodes: three of six gained is p = 0.12
    ((6, 3, 0, 0), "looks better", False),
    ((6, 0, 3, 6), "looks worse", False),
    ((6, 5, 0, 0), "better", True),
    ((6, 6, 0, 0), "better", True),
    ((6, 0, 6, 6), "worse", True),
    ((1, 1, 0, 0), "looks better", False),
    ((1, 0, 0, 0), "no difference", False),
    # ties, floors and ceilings
    ((20, 2, 2, 10), "no difference", False),
    ((20, 0, 0, 10), "no difference", False),
    ((160, 0, 0, 80), "no difference", True),
    ((6, 0, 0, 0), "no difference", False),
    ((20, 0, 0, 0), "neither", True),
    ((20, 0, 0, 20), "no difference", False),
    ((60, 0, 0, 60), "no difference", True),
    ((0, 0, 0, 0), "no pairs", True),
]
OTHERS = [
    ((20, 7, 0, 0), "gained", True),
    ((20, 13, 1, 2), "gained", True),
    ((20, 2, 0, 0), "cannot tell", False),  # nothing was there to be kept
    ((60, 6, 0, 0), "gained", True),
    ((20, 0, 13, 13), "lost", True),
    ((6, 0, 6, 6), "lost", True),
    ((20, 0, 4, 20), "cannot tell", False),  # exploring: the interval ends at 0
    ((20, 0, 5, 20), "lost", True),
    ((300, 0, 12, 200), "kept", True),  # fewer, and less than the margin
    ((50, 0, 0, 45), "kept", True),
    ((50, 2, 3, 45), "cannot tell", False),
    ((20, 5, 2, 12), "cannot tell", False),
    ((2, 0, 1, 2), "cannot tell", False),
    ((20, 2, 2, 12), "cannot tell", False),
    ((20, 0, 0, 0), "neither", True),
    ((6, 0, 0, 0), "cannot tell", False),  # zero of six still allows a rate of 39 %
    ((100, 2, 0, 0), "neither", True),
    ((20, 0, 0, 20), "cannot tell", False),
    ((60, 0, 0, 60), "kept", True),
    ((0, 0, 0, 0), "no pairs", True),
]
CASES = [(True, *case) for case in TARGETS] + [(False, *case) for case in OTHERS]


@pytest.mark.parametrize(("target", "counts", "kind", "settled"), CASES)
def test_the_table(target: bool, counts: tuple[int, int, int, int], kind: str, settled: bool) -> None:
    found = decide(*counts, target=target)
    assert found.kind == kind
    assert (found.further == 0) == settled


@pytest.mark.parametrize(
    ("pairs", "measure", "lower_is_better", "said"),
    [
        (20, (-24.3, -9.3), False, "worse"),  # exploring, 16 of 20 after 20 of 20
        (20, (9.3, 24.3), False, "better"),
        (20, (5.1, 47.5), True, "worse"),  # a mean pitch: negative is up
        (20, (-47.5, -5.1), True, "better"),
        (20, (-1.0, 3.0), False, ""),
        (20, (0.0, 3.0), False, ""),
        (5, (-3.0, -1.0), False, ""),  # five in one direction happen by chance
        (6, (-3.0, -1.0), False, "worse"),
        (20, None, False, ""),
    ],
)
@pytest.mark.parametrize("target", [True, False])
def test_the_measure_speaks_where_successes_cannot(
    target: bool, pairs: int, measure: tuple[float, float] | None, lower_is_better: bool, said: str
) -> None:
    words: dict[str, Any] = {"target": target, "measure": measure, "lower_is_better": lower_is_better}
    for lost in (0, 2):
        found = decide(pairs, 0, lost, pairs - 1, **words)
        assert found.measure == said
        assert found.kind in ("cannot tell", "no difference", "looks worse"), "the successes alone decide nothing here"


COUNTS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[0] - pair[1]))
    )
)


@settings(deadline=None)
@given(COUNTS, st.booleans(), st.sampled_from([1, 4]), st.data())
def test_verdict_p_and_interval_agree(
    counts: tuple[int, int, int], target: bool, looks: int, data: st.DataObject
) -> None:
    pairs, gained, lost = counts
    successes = data.draw(st.integers(lost, pairs - gained))
    level = look_confidence(looks)
    found = decide(pairs, gained, lost, successes, target=target, confidence=level)
    assert found.test is not None
    sure = found.test.p < 1 - level
    assert sure == (found.test.low > 0 or found.test.high < 0)
    assert (found.kind in ("better", "worse", "gained", "lost")) <= sure
    if target:
        assert sure == (found.kind in ("better", "worse"))
    if found.kind == "kept":
        assert found.test.low > -MARGIN
    if found.kind in ("better", "gained", "looks better"):
        assert gained > lost
    assert 0 <= found.further <= MOST_FURTHER + 1
    mirrored = decide(pairs, lost, gained, successes + gained - lost, target=True, confidence=level)
    if target:
        opposite = {"better": "worse", "worse": "better", "looks better": "looks worse", "looks worse": "looks better"}
        assert mirrored.kind == opposite.get(found.kind, found.kind)
        assert (mirrored.further, mirrored.within) == (found.further, found.within)


@pytest.mark.parametrize(
    ("counts", "target"),
    [((6, 3, 0), True), ((6, 4, 0), True), ((20, 0, 3), False), ((20, 0, 0), False), ((20, 2, 7), True)],
)
def test_the_forecast_is_honest(counts: tuple[int, int, int], target: bool) -> None:
    """After the number of episodes that it asks for, if they go as those seen, the verdict is settled in about four of five cases, and with half as many in fewer."""
    pairs, gained, lost = counts
    more = further(pairs, gained, lost, target=target)
    rates = (gained + 1 / 3) / (pairs + 1), (lost + 1 / 3) / (pairs + 1)
    random = np.random.default_rng(0)

    def settled(extra: int) -> float:
        draws = random.multinomial(extra, [*rates, 1 - sum(rates)], size=100)
        ends = [(pairs + extra, gained + up, lost + down) for up, down, _ in draws.tolist()]
        # Half of the pairs without a difference are successes, so that nothing is settled as "neither can do it".
        found = [decide(n, b, c, (n - b - c) // 2 + c, target=target) for n, b, c in ends]
        return float(np.mean([each.further == 0 for each in found]))

    assert 0.65 <= settled(more) <= 0.98
    assert settled(more // 2) < settled(more)


def test_a_hopeless_forecast_says_so() -> None:
    assert further(20, 2, 2, target=True) < MOST_FURTHER
    assert further(20, 8, 7, target=True) == MOST_FURTHER + 1


def test_looks_that_are_repeated_need_more_pairs_for_the_measure() -> None:
    """Six pairs that all rose happen by chance in 3 % of cases: less than 5, and more than the 1.25 of each of four looks."""
    four = look_confidence(4)
    for pairs, confidence, said in ((6, 0.95, "better"), (6, four, ""), (7, four, ""), (8, four, "better")):
        interval = bootstrap_difference(np.zeros(pairs), np.arange(1, pairs + 1), confidence=confidence)
        assert interval[0] > 0
        assert decide(pairs, 0, 0, pairs, measure=interval, confidence=confidence).measure == said


def test_what_the_interval_allows_is_rounded_up() -> None:
    assert decide(20, 0, 0, 10, target=True).within == 19
    assert Verdict("no pairs").within == 100
