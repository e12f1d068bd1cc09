"""The weight of each frame in one step of weighted imitation, for every method.

Training minimises the sum over frames of weight * -log p(action), with the weight held fixed. With these weights its gradient is that of
the method's own loss, so no method needs tables of all frames' probabilities.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

LEAST_LOG_P = -11.0
"""An action this improbable is not pushed further down: its gradient only disturbs the others."""
LARGEST_LOG_RATIO = 20.0


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
    """Weights (N,) f32 without gradient, and what is worth watching: the share of clipped frames, the largest ratio, the loss."""

    weight: Tensor
    clip_share: float
    ratio_max: float
    loss: float


def ppo_weights(log_p: Tensor, old_log_p: Tensor, advantage: Tensor, clip: Clip) -> Weights:
    """Weights whose imitation gradient is that of PPO's clipped loss, summed over frames.

    The loss of a frame is -min(ratio A, clipped ratio A), bounded by dual |A| where A < 0. Its gradient is -A ratio grad log p, or zero where
    the bound is the smaller one; so the weight is A ratio, or zero.

    Args:
        log_p: (N,) of the policy under training, without gradient.
        old_log_p: (N,) of the policy that played.
        advantage: (N,).
    """
    log_p, old_log_p, advantage = (each.detach().float() for each in (log_p, old_log_p, advantage))
    ratio = (log_p - old_log_p).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    bounded = ratio.clamp(1 - clip.low, 1 + clip.high)
    clipped = torch.where(advantage >= 0, ratio > 1 + clip.high, ratio < 1 - clip.low)
    bound = (advantage < 0) & (ratio > clip.dual)
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    gain = torch.where(advantage < 0, torch.maximum(gain, clip.dual * advantage), gain)
    silent = clipped | bound | ((advantage < 0) & (log_p < LEAST_LOG_P))
    weight = torch.where(silent, 0.0, advantage * ratio)
    count = max(1, len(weight))
    return Weights(
        weight,
        float((clipped | bound).sum()) / count,
        float(ratio.max()) if len(ratio) else 1.0,
        float(-gain.sum()) / count,
    )


def clone_weights(returns: Tensor, successes: Tensor, beta: float = 0.0, most: float = 20.0) -> Tensor:
    """Weights of filtered cloning: 1 for the frames of successful episodes, 0 for others; with beta > 0 exp((R - mean) / beta), at most `most`.

    Args:
        returns, successes: (N,) of each frame's episode.
    """
    if beta <= 0:
        return successes.float()
    return ((returns - returns.mean()) / beta).clamp(max=float(torch.tensor(most).log())).exp()


def preference_weights(gain_winner: Tensor, gain_loser: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """DPO's loss of each pair, (P,), and the weight of the winner's frames, (P,); the loser's frames have its negative (arXiv 2305.18290).

    Args:
        gain_winner, gain_loser: (P,) log p under training minus that under the reference, summed over each episode's frames.
    """
    margin = beta * (gain_winner - gain_loser)
    return -torch.nn.functional.logsigmoid(margin), beta * torch.sigmoid(-margin)
