"""Advantages: how much better each action turned out than expected.

Input: rewards and values of episodes of any lengths. Output: one number for each frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]
"""One number for each frame of an episode, float64 (N,)."""


def gae(rewards: Series, values: Series, gamma: float, lam: float, after: float = 0.0) -> Series:
    """Generalised advantage estimation of one episode (arXiv 1506.02438); a step limit that belongs to the task is an end.

    Args:
        rewards, values: (N,), of each step and of the state before it.
        gamma, lam: discount, and the weight of longer returns.
        after: value of the state behind the last step, of an episode that was cut off; 0: it ended.
    """
    found = np.empty(len(rewards))
    behind, following = 0.0, after
    for step in range(len(rewards) - 1, -1, -1):
        delta = rewards[step] + gamma * following - values[step]
        behind = delta + gamma * lam * behind
        found[step], following = behind, values[step]
    return found


def returns_to_go(rewards: Series, gamma: float) -> Series:
    """Discounted sum of this and all later rewards of the episode, (N,)."""
    return gae(rewards, np.zeros(len(rewards)), gamma, 1.0)


def minus_others(series: Sequence[Series], groups: Sequence[Hashable]) -> list[Series]:
    """Each series minus the mean of the other members of its group at the same step (leave-one-out).

    A member that has ended by then counts with 0: nothing more comes. Members of a group of one get zeros.
    """
    found = [np.zeros(len(each)) for each in series]
    for group in dict.fromkeys(groups):
        members = [number for number, other in enumerate(groups) if other == group]
        if len(members) < 2:
            continue
        longest = max(len(series[number]) for number in members)
        table = np.zeros((len(members), longest))
        for row, number in enumerate(members):
            table[row, : len(series[number])] = series[number]
        # Equal members become exact zeros: the mean of equal numbers is not always that number.
        table = table - table[0]
        table = (table - table.mean(axis=0)) * (len(members) / (len(members) - 1))
        for row, number in enumerate(members):
            found[number] = table[row, : len(series[number])]
    return found


def whitened(advantages: Sequence[Series]) -> list[Series]:
    """Divided by their root mean square over all frames; not centred, so that groups without spread keep exact zeros."""
    if not advantages:
        return []
    spread = float(np.sqrt(np.mean(np.concatenate(advantages) ** 2)))
    return [each / spread if spread > 0 else each for each in advantages]


def mixed_groups(successes: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """Share of groups in which some episodes succeed and some fail: without any, success teaches nothing."""
    outcomes: dict[Hashable, set[bool]] = {}
    for success, group in zip(successes, groups):
        outcomes.setdefault(group, set()).add(bool(success))
    return sum(len(found) == 2 for found in outcomes.values()) / max(1, len(outcomes))
