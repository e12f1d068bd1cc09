"""Intervals and tests for counts of successes, paired by seed.

Input: counts, or one value an episode in the order of their seeds.
Output: intervals and p-values.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, ndtri, stdtrit

from steve1.core.errors import UserError

_EXACT_PAIRS = 200


def wilson(successes: float, episodes: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (low, high) for a success rate; counts are fractions where `worth` gives them."""
    if episodes < 1 or not 0 <= successes <= episodes:
        raise UserError(
            "These are not counts of successes.",
            expected="0 ≤ successes ≤ episodes, episodes ≥ 1",
            got=f"{successes} of {episodes}",
        )
    z = float(ndtri(0.5 + confidence / 2))
    rate, square = successes / episodes, z * z
    middle = (rate + square / (2 * episodes)) / (1 + square / episodes)
    half = z / (1 + square / episodes) * math.sqrt(rate * (1 - rate) / episodes + square / (4 * episodes**2))
    # The ends are exact where the rate is: rounding must not put 0 of n above 0.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == episodes else min(1.0, middle + half)
    return low, high


def clustered_error(values: Sequence[float], groups: Sequence[Hashable]) -> float:
    """Standard error of the mean of episodes, some of which are of one group, such as those from the same start state, and so not independent.

    It is that of the groups' means, and never smaller than that of as many independent episodes. One group says nothing of others: then the latter.
    """
    every = np.asarray(values, dtype=np.float64)
    alone = float(every.std()) / math.sqrt(len(every))
    found: dict[Hashable, list[float]] = {}
    for value, group in zip(every.tolist(), groups, strict=True):
        found.setdefault(group, []).append(value)
    if len(found) < 2:
        return alone
    means = [float(np.mean(each)) for each in found.values()]
    return max(alone, float(np.std(means, ddof=1)) / math.sqrt(len(means)))


def worth(rate: float, episodes: int, error: float) -> float:
    """How many independent episodes would give a success rate this standard error: at least 1, at most as many as were played."""
    variance = rate * (1 - rate)
    return float(episodes) if variance <= 0 or error <= 0 else min(float(episodes), max(1.0, variance / error**2))


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Two paired rates compared: p is below 1 - confidence exactly where the interval leaves out 0.

    Attributes:
        p: two-sided, that the two rates are equal.
        low, high: of the difference, second minus first.
    """

    p: float
    low: float
    high: float


@functools.lru_cache(maxsize=4096)
def paired_test(pairs: int, gained: int, lost: int, confidence: float = 0.95) -> PairedTest:
    """The exact score test of two paired rates, and the interval of all differences that it does not reject.

    Tables of (gained, lost) are ordered by Tango's score, and the share of differing pairs is the least favourable one, so that the test
    errs in at most 1 - confidence of cases, with few episodes too. Beyond 200 pairs the score is taken as normal.

    Raises:
        UserError: no pairs, or more that differ than there are.
    """
    if pairs < 1 or min(gained, lost) < 0 or gained + lost > pairs:
        expected, got = "gained + lost ≤ pairs, pairs ≥ 1", f"{gained} + {lost} of {pairs}"
        raise UserError("These are not counts of pairs.", expected=expected, got=got)
    alpha = 1 - confidence
    p = min(1.0, 2 * min(_tail(pairs, gained, lost, 0.0), _tail(pairs, lost, gained, 0.0)))
    return PairedTest(p, _low_end(pairs, gained, lost, alpha), -_low_end(pairs, lost, gained, alpha))


def _low_end(pairs: int, gained: int, lost: int, alpha: float) -> float:
    """The least difference that the upper tail does not reject at alpha / 2."""
    if lost == pairs:
        return -1.0
    rejected, kept = -1.0, (gained - lost) / pairs
    # 0 is tried first, so that p and the interval never disagree.
    middle = 0.0 if kept > 0 else (rejected + kept) / 2
    for _ in range(14):
        if 2 * _tail(pairs, gained, lost, middle) < alpha:
            rejected = middle
        else:
            kept = middle
        middle = (rejected + kept) / 2
    return middle


def _tail(pairs: int, gained: int, lost: int, difference: float) -> float:
    """How probable a score of at least the observed one is, at the most, if the true difference is `difference`."""
    observed = float(score(pairs, gained, lost, difference)[0])
    if pairs > _EXACT_PAIRS:
        return float(ndtr(-observed))
    more, less, ways = _tables(pairs)
    tail = score(pairs, more, less, difference)[0] >= observed - 1e-9
    more, less, ways = more[tail], less[tail], ways[tail]
    # Shares of differing pairs, closer together where they are few.
    differing = abs(difference) + (1 - abs(difference)) * np.linspace(0, 1, 50) ** 2
    shares = np.stack([(differing + difference) / 2, (differing - difference) / 2, 1 - differing])
    logarithms = np.log(np.maximum(shares, 1e-300))
    counts = np.stack([more, less, pairs - more - less], axis=1)
    return float(np.exp(ways[:, None] + counts @ logarithms).sum(axis=0).max())


@functools.lru_cache(maxsize=64)
def _tables(pairs: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(gained, lost, logarithm of the number of orders) of all tables of that many pairs."""
    more, less = (part.astype(np.float64) for part in np.nonzero(np.add.outer(*[np.arange(pairs + 1)] * 2) <= pairs))
    ways = gammaln(pairs + 1) - gammaln(more + 1) - gammaln(less + 1) - gammaln(pairs - more - less + 1)
    return more, less, ways


def score(
    pairs: ArrayLike, gained: ArrayLike, lost: ArrayLike, difference: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Tango's score of gained and lost pairs against a true difference, its standard deviation in pairs), of equal shapes."""
    n, b, c = (np.asarray(part, np.float64) for part in (pairs, gained, lost))
    # The most likely share of lost pairs if the difference is the true one.
    linear = (2 * n - b + c) * difference - b - c
    root = np.maximum(linear**2 + 8 * n * c * difference * (1 - difference), 0.0)
    share = (np.sqrt(root) - linear) / (4 * n)
    spread = np.sqrt(n * np.maximum(2 * share + difference * (1 - difference), 0.0))
    excess = b - c - n * difference
    return np.divide(excess, spread, out=np.zeros_like(spread * excess), where=spread > 1e-12), spread


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Bootstrap interval (low, high) of mean(second) - mean(first), of paired values, one an episode.

    Percentiles are moved outwards as Student's t is wider than the normal distribution (Hesterberg's expanded percentiles): plain ones
    are too narrow with few episodes.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.size == 0 or a.shape != b.shape:
        raise UserError(
            "The difference needs results of both.",
            expected="equally many paired results, at least one",
            got=f"{a.size} and {b.size}",
        )
    chosen = np.random.default_rng(0).integers(0, a.size, size=(draws, a.size))
    tail = float(ndtr(np.sqrt(a.size / max(a.size - 1, 1)) * stdtrit(max(a.size - 1, 1), (1 - confidence) / 2)))
    low, high = np.quantile((b - a)[chosen].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Interval (low, high) of mean(second) - mean(first), of paired shares from 0 to 1, one for each number of an episode.

    Exact where every share is 0 or 1, else a bootstrap; -1 to 1 where that would be of so few that all differ in one direction by chance.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.size and a.shape == b.shape and np.isin([a, b], (0, 1)).all():
        test = paired_test(a.size, int((b > a).sum()), int((a > b).sum()), confidence)
        return test.low, test.high
    low, high = bootstrap_difference(a, b, confidence=confidence)
    if not enough(a.size, confidence):
        return -1.0, 1.0
    return max(-1.0, low), min(1.0, high)


def enough(pairs: int, confidence: float = 0.95) -> bool:
    """Whether a bootstrap of so many pairs can prove a change: where nothing has changed, they all differ in one direction in 2^(1 - pairs) of cases."""
    return 2.0 ** (1 - pairs) < 1 - confidence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: adjusted p-values in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.ones(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.sort(p_values) * np.arange(len(p_values), 0, -1)).clip(max=1)
    return [float(p) for p in adjusted]


def looks(first: int, most: int) -> tuple[int, ...]:
    """Numbers of pairs after which a sequential evaluation looks: `first`, twice as many, ..., `most`.

    Raises:
        UserError: `most` is below `first`, or `first` below 1.
    """
    if not 1 <= first <= most:
        raise UserError(
            "A sequential evaluation needs a maximum that is not below its start.",
            expected="1 ≤ --episodes ≤ --max_episodes",
            got=f"{first} and {most}",
        )
    found = []
    while first < most:
        found.append(first)
        # A last step that is much shorter than the one before would spend a look on little.
        first = first * 2 if first * 3 <= most else most
    return (*found, most)


def look_confidence(number: int, confidence: float = 0.95) -> float:
    """The confidence of each of `number` looks, so that all their intervals hold together with at least `confidence`.

    By Bonferroni's inequality, which needs no assumption on how the looks depend on one another: wherever the
    evaluation stops, and for whatever reason, its last interval is one of these.
    """
    return 1 - (1 - confidence) / max(number, 1)
