"""Intervals and tests for counts of successes, paired by seed.

Input: counts, or 0/1 results in the order of their seeds.
Output: intervals, p-values, and how many more episodes would decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri

from steve1.core.errors import UserError


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (low, high) for a success rate."""
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


def _pair_counts(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int, int, int]:
    """(both succeeded, gained, lost, neither) of results on the same seeds in the same order."""
    if len(first) != len(second) or not first:
        raise UserError("Paired results need the same seeds.", expected=len(first), got=len(second))
    both = sum(a and b for a, b in zip(first, second))
    gained, lost = sum(second) - both, sum(first) - both
    return both, gained, lost, len(first) - both - gained - lost


def mcnemar_exact(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided p that two policies differ this much by chance, from the pairs in which they differ."""
    _, gained, lost, _ = _pair_counts(first, second)
    return _mcnemar(gained, lost)


def _mcnemar(gained: int, lost: int) -> float:
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, draws: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of mean(second) - mean(first), of paired values, one an episode."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.size == 0 or a.shape != b.shape:
        raise UserError(
            "The difference needs results of both.",
            expected="equally many paired results, at least one",
            got=f"{a.size} and {b.size}",
        )
    chosen = np.random.default_rng(0).integers(0, a.size, size=(draws, a.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile((b - a)[chosen].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> tuple[float, float]:
    """Newcombe's interval (method 10) of the difference of two paired rates, rate(second) - rate(first).

    It holds for few episodes and at 0 and 1, where a bootstrap's interval shrinks to a point.
    """
    both, gained, lost, neither = _pair_counts(first, second)
    n, wins1, wins2 = len(first), both + lost, both + gained
    rate1, rate2 = wins1 / n, wins2 / n
    low1, high1 = wilson(wins1, n, confidence)
    low2, high2 = wilson(wins2, n, confidence)
    product = wins1 * (gained + neither) * wins2 * (lost + neither)
    phi = 0.0
    if product:
        numerator = float(both * neither - lost * gained)
        # Newcombe's continuity correction, for positive association only.
        numerator = max(numerator - n / 2, 0.0) if numerator > 0 else numerator
        phi = numerator / math.sqrt(product)
    difference = rate2 - rate1
    down2, up2, down1, up1 = rate2 - low2, high2 - rate2, rate1 - low1, high1 - rate1
    low = difference - math.sqrt(max(down2**2 - 2 * phi * down2 * up1 + up1**2, 0.0))
    high = difference + math.sqrt(max(up2**2 - 2 * phi * up2 * down1 + down1**2, 0.0))
    return max(low, -1.0), min(high, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: adjusted p-values in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.ones(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.sort(p_values) * np.arange(len(p_values), 0, -1)).clip(max=1)
    return [float(p) for p in adjusted]


KEPT, LOST, IMPROVED, WORSE, UNCHANGED, OPEN = "kept", "lost", "improved", "worse", "no change", "cannot tell yet"
LOOKS_BETTER, LOOKS_WORSE = "looks better, not sure yet", "looks worse, not sure yet"
UNDECIDED = (OPEN, LOOKS_BETTER, LOOKS_WORSE)
_MARGIN = 0.1  # a rate that changes by less counts as the same


def retention(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> tuple[str, int]:
    """Was a skill kept? ("kept" | "lost" | "cannot tell yet", further episodes that would probably decide it).

    kept: the whole interval of the difference lies above the margin of -0.1; lost: below 0 as a whole, with at least the margin
    lost. The number of episodes extrapolates the observed difference with an interval that shrinks with the root of n.
    """
    low, high = paired_difference(first, second, confidence)
    difference = (sum(second) - sum(first)) / len(first)
    if low > -_MARGIN:
        return KEPT, 0
    if high < 0 and difference <= -_MARGIN:
        return LOST, 0
    # On the side of "kept" the lower end must rise to -margin, on that of "lost" the upper end must fall to 0.
    if difference > -_MARGIN / 2:
        return OPEN, _further(len(first), difference - low, difference + _MARGIN)
    return OPEN, _further(len(first), high - difference, -difference)


def improvement(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> tuple[str, int]:
    """Was a skill learnt? (verdict, further episodes that would probably decide it).

    Verdicts:
        improved, worse: the exact paired p is below 1 - confidence (0.05).
        no change: it is not, and the whole interval of the difference lies within the margin.
        looks better, not sure yet; looks worse, not sure yet: neither, and the rates differ.
        cannot tell yet: neither, and the rates are equal.
    """
    p, alpha = mcnemar_exact(first, second), 1 - confidence
    low, high = paired_difference(first, second, confidence)
    difference = (sum(second) - sum(first)) / len(first)
    if p < alpha:
        return (IMPROVED if difference > 0 else WORSE), 0
    if low > -_MARGIN and high < _MARGIN:
        return UNCHANGED, 0
    verdict = LOOKS_BETTER if difference > 0 else LOOKS_WORSE if difference < 0 else OPEN
    half = difference - low if difference >= 0 else high - difference
    if abs(difference) < _MARGIN / 2:
        # For small differences fewer episodes show that they are within the margin than that they are not 0.
        return verdict, _further(len(first), half, _MARGIN - abs(difference))
    _, gained, lost, _ = _pair_counts(first, second)
    further = _further(len(first), half, abs(difference))
    return verdict, _further_until_significant(len(first), gained, lost, alpha, further)


def _further(pairs: int, half: float, space: float) -> int:
    """How many more pairs until half an interval, which shrinks with the root of their number, fits into `space`."""
    # At the border itself no number decides it; a tenth of the margin is as near as the forecast looks.
    needed = pairs * (half / max(space, _MARGIN / 10)) ** 2
    return max(1, math.ceil(needed) - pairs)


def _further_until_significant(pairs: int, gained: int, lost: int, alpha: float, further: int) -> int:
    """At least `further` more pairs, and enough that results like these give an exact p below `alpha`."""
    while _mcnemar(*(round(count * (pairs + further) / pairs) for count in (gained, lost))) >= alpha:
        further += 1
    return further


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
