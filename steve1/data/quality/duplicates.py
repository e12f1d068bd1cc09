"""Finds near-duplicates: episodes that show the same thing twice, completely or in part.

A stretch of actions that recurs token by token is a duplicate, whatever its frames look like; frames that recur with other
actions are one too.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steve1.data.quality.measures import THUMB_STEP, Measures

#: ticks of a compared stretch, and how many of them must differ: repeated actions recur by chance
_WINDOW, _VARIED = 24, 9
#: share of the shorter episode's windows that must recur
_SHARE = 0.3
#: thumbnails of an episode that are compared
_SPOTS = 12
#: mean difference in grey levels at which two thumbnails show the same
_SAME = 7.0


@dataclass(frozen=True)
class Pair:
    """Two episodes (numbers in the sequence given) and what they share.

    Attributes:
        one, other: their numbers, one < other.
        share: of the shorter one's varied stretches of actions, or 1.0 if only the frames recur.
        kind: "same pictures and actions", "same actions, other pictures" or "same pictures, other actions".
    """

    one: int
    other: int
    share: float
    kind: str


def stretches(tokens: NDArray[np.int64]) -> dict[int, int]:
    """A number for each varied stretch of 24 tokens in (N,), and the frame at which it first begins."""
    if len(tokens) < _WINDOW:
        return {}
    views = np.lib.stride_tricks.sliding_window_view(tokens, _WINDOW)
    ordered = np.sort(views, axis=1)
    varied = (np.diff(ordered, axis=1) != 0).sum(axis=1) + 1 >= _VARIED
    powers = np.array([pow(6364136223846793005, k, 1 << 64) for k in range(_WINDOW)], np.uint64)
    codes = ((views.astype(np.uint64) + np.uint64(1)) * powers).sum(axis=1, dtype=np.uint64)
    found: dict[int, int] = {}
    for start in np.flatnonzero(varied).tolist():
        found.setdefault(int(codes[start]), start)
    return found


def find_duplicates(episodes: Sequence[Measures]) -> list[Pair]:
    """Pairs that share much, most first. O(frames) for actions, O(episodes²) on small thumbnails for pictures."""
    pairs = _same_actions(episodes)
    known = {(pair.one, pair.other) for pair in pairs}
    pairs += [pair for pair in _same_pictures(episodes) if (pair.one, pair.other) not in known]
    return sorted(pairs, key=lambda pair: (-pair.share, pair.one, pair.other))


def _same_actions(episodes: Sequence[Measures]) -> list[Pair]:
    places = [stretches(episode.tokens) for episode in episodes]
    owners: dict[int, list[int]] = defaultdict(list)
    for number, found in enumerate(places):
        for code in found:
            owners[code].append(number)
    offsets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for code, numbers in owners.items():
        if len(numbers) > 20:
            continue  # a scripted movement that all players make
        for one, other in itertools.combinations(numbers, 2):
            offsets[one, other].append(places[other][code] - places[one][code])
    pairs = []
    for (one, other), shifts in offsets.items():
        share = len(shifts) / min(len(places[one]), len(places[other]))
        if share < _SHARE or len(shifts) < 20:
            continue
        offset = Counter(shifts).most_common(1)[0][0]
        same = _aligned_difference(episodes[one], episodes[other], offset) < 2 * _SAME
        kind = "same pictures and actions" if same else "same actions, other pictures"
        pairs.append(Pair(one, other, share, kind))
    return pairs


def _aligned_difference(one: Measures, other: Measures, offset: int) -> float:
    """Mean grey difference of thumbnails that lie within half a step of one another when `other` is shifted."""
    step = round(offset / THUMB_STEP)
    first = one.thumbs[max(0, -step) :]
    second = other.thumbs[max(0, step) :]
    count = min(len(first), len(second))
    if not count:
        return float("inf")
    return float(np.abs(first[:count].astype(np.int16) - second[:count]).mean())


def _same_pictures(episodes: Sequence[Measures]) -> list[Pair]:
    usable, rows = [], []
    for number, episode in enumerate(episodes):
        thumbs = episode.thumbs
        if len(thumbs) >= 3 and not episode.fault and thumbs.std(axis=0).mean() > 4:
            usable.append(number)
            rows.append(thumbs[np.linspace(0, len(thumbs) - 1, _SPOTS).round().astype(int)].reshape(-1))
    vectors = np.asarray(rows, np.float32)
    squares = (vectors**2).sum(axis=-1)
    pairs = []
    for row in range(len(usable) - 1):
        apart = np.sqrt(np.maximum(squares[row] + squares[row + 1 :] - 2 * vectors[row + 1 :] @ vectors[row], 0))
        for found in np.flatnonzero(apart / np.sqrt(vectors.shape[1]) < _SAME):
            one, other = usable[row], usable[row + 1 + int(found)]
            lengths = sorted((episodes[one].frames, episodes[other].frames))
            if lengths[0] >= 0.9 * lengths[1]:
                equal = np.array_equal(episodes[one].tokens, episodes[other].tokens)
                kind = "same pictures and actions" if equal else "same pictures, other actions"
                pairs.append(Pair(one, other, 1.0, kind))
    return pairs
