"""The weight of each frame in one step of weighted imitation, for every method.

Training minimises the sum over frames of weight * -log p(action), with the weight held fixed. With these weights its gradient is that of
the method's own loss, so no method needs tables of all frames' probabilities.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.rl.advantages import Series

LEAST_LOG_P = -11.0
"""An action this improbable is not pushed further down: its gradient only disturbs the others."""
LARGEST_LOG_RATIO = 20.0


EQUAL, NO_SUCCESS, TIED = "equal", "no success", "tied"
"""Why an iteration teaches nothing: no success and equal returns; clone without a success; equal returns wherever episodes are compared."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """Bounds of PPO's probability ratio.

    Attributes:
        low, high: the ratio may fall to 1 - low and rise to 1 + high before a frame stops counting.
        dual: bound on the ratio where the advantage is negative; the loss has none there otherwise (arXiv 1912.09729).
    """

    low: float = 0.2
    high: float = 0.2
    dual: float = 3.0


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights f32 without gradient; which frames are clipped, bool; probability ratios f32. All have the shape of the advantages."""

    weight: Tensor
    clipped: Tensor
    ratio: Tensor


def ppo_weights(log_p: Tensor, old_log_p: Tensor, advantage: Tensor, clip: Clip) -> Weights:
    """Weights whose imitation gradient is that of PPO's clipped loss, summed over frames.

    The loss of a frame is -min(ratio A, clipped ratio A), bounded by dual |A| where A < 0. Its gradient is -A ratio grad log p, or zero where
    the bound is the smaller one; so the weight is A ratio, or zero.

    Args:
        log_p: (...) of the policy under training, without gradient.
        old_log_p: (...) of the policy that played.
        advantage: (...).
    """
    log_p, old_log_p, advantage = (each.detach().float() for each in (log_p, old_log_p, advantage))
    ratio = (log_p - old_log_p).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    clipped = torch.where(advantage >= 0, ratio > 1 + clip.high, ratio < 1 - clip.low)
    clipped = clipped | ((advantage < 0) & (ratio > clip.dual))
    silent = clipped | ((advantage < 0) & (log_p < LEAST_LOG_P))
    return Weights(torch.where(silent, 0.0, advantage * ratio), clipped, ratio)


def clone_weights(returns: Series, successes: NDArray[np.bool_], beta: float = 0.0, most: float = 20.0) -> Series:
    """Weights (M,) of the episodes in filtered cloning: 1 for successes, 0 for others; with beta > 0 exp((return - mean) / beta), at most `most`.

    Args:
        returns, successes: (M,) of all episodes of an iteration, over which the mean is taken.
    """
    if beta <= 0:
        return successes.astype(np.float64)
    return np.asarray(np.exp(np.minimum((returns - returns.mean()) / beta, np.log(most))), dtype=np.float64)


def pairs_of(groups: Sequence[int], earned: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers (P,) of the better and (P,) of the worse episode of each pair of one group that earned different amounts."""
    group, paid = np.asarray(groups), np.asarray(earned)
    better, worse = np.nonzero((group[:, None] == group) & (paid[:, None] > paid))
    return better, worse


def silence_of(
    method: str,
    returns: Series,
    successes: NDArray[np.bool_],
    groups: Sequence[int],
    advantages: Sequence[Series],
    cloned: Series,
) -> str:
    """Why an iteration's episodes (M,) teach a method nothing: EQUAL, NO_SUCCESS or TIED; "" where some weight, advantage or pair is not zero."""
    if method == "clone" and not cloned.any():
        return NO_SUCCESS
    # Not their standard deviation, which rounding keeps from being 0.
    if returns.min() == returns.max() and not successes.any():
        return EQUAL
    if method == "clone":
        return ""
    if method == "preference":
        return "" if len(pairs_of(groups, returns.tolist())[0]) else TIED
    return "" if any(series.any() for series in advantages) else TIED


def preference_weights(gain_winner: Tensor, gain_loser: Tensor, beta: float) -> Tensor:
    """The weight of the winner's frames in DPO's loss of each pair, (P,); the loser's frames have its negative (arXiv 2305.18290).

    Args:
        gain_winner, gain_loser: (P,) log p under training minus that under the reference, summed over each episode's frames.
    """
    return beta * torch.sigmoid(-beta * (gain_winner - gain_loser))
