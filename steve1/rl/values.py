"""What return is to be expected from a state: a linear function solved in closed form, or the policy's own value head.

Input: of each frame of an iteration the policy's latent; for the linear function also the time and the series of the reward. Output: a value
for each frame. The linear one comes from coefficients that were fitted on other groups: no gradient, no warm-up, nothing random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from steve1.policy import GoalPolicy
from steve1.rl.advantages import Series

RIDGES = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)
"""Penalties that are tried; the one that predicts held-out groups best is taken."""


@dataclasses.dataclass(frozen=True)
class LinearValue:
    """Coefficients of a ridge regression on standardised features; the constant is not penalised."""

    mean: Series
    scale: Series
    coefficients: Series
    constant: float

    def __call__(self, features: NDArray[np.floating]) -> Series:
        """Values (N,) of features (N, D)."""
        found = ((features - self.mean) / self.scale) @ self.coefficients + self.constant
        return np.asarray(found, dtype=np.float64)


def fit_ridges(features: NDArray[np.floating], targets: Series, ridges: Sequence[float] = RIDGES) -> list[LinearValue]:
    """The ridge regressions of targets (N,) on features (N, D), one for each penalty."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-8, scale, 1.0)
    centred = (features - mean) / scale
    constant = float(targets.mean())
    sizes, axes = np.linalg.eigh(centred.T @ centred)
    along = axes.T @ (centred.T @ (targets - constant))
    return [LinearValue(mean, scale, axes @ (along / (np.maximum(sizes, 0) + ridge)), constant) for ridge in ridges]


def with_time(latent: NDArray[np.floating], limit: int, parts: Sequence[Series]) -> NDArray[np.float64]:
    """Features of the value function for one episode, (N, H + 2 + len(parts)).

    Args:
        latent: (N, H) of the policy.
        limit: the episode's step limit; the policy cannot see the clock, the value may.
        parts: (N,) each: what each term of the reward has paid before the step.
    """
    time = np.arange(len(latent)) / max(1, limit)
    return np.column_stack([latent, time, time**2, *parts])


def cross_fitted(
    features: Sequence[NDArray[np.float64]], targets: Sequence[Series], groups: Sequence[Hashable]
) -> tuple[list[Series], float]:
    """Values of each episode by a regression on the other half of the groups, and the variance that they explain.

    So a group's own luck never enters its own values. With a single group the value is the mean of the targets at the same step.

    Args:
        features: (N, D) of each episode.
        targets: (N,) of each episode: returns to go.
        groups: of each episode.

    Returns:
        values (N,) of each episode, and 1 - var(target - value) / var(target) over all frames (0 where targets do not vary).
    """
    names = list(dict.fromkeys(groups))
    values = _mean_at_step(targets) if len(names) < 2 else [np.empty(0)] * len(targets)
    halves = [set(names[0::2]), set(names[1::2])] if len(names) > 1 else []
    for fitted, judged in zip(halves, reversed(halves)):
        rows = {group: [number for number, other in enumerate(groups) if other == group] for group in fitted}
        value = _fit(
            {group: np.concatenate([features[number] for number in part]) for group, part in rows.items()},
            {group: np.concatenate([targets[number] for number in part]) for group, part in rows.items()},
        )
        for number, group in enumerate(groups):
            if group in judged:
                values[number] = value(features[number])
    return values, explained_variance(targets, values)


def explained_variance(targets: Sequence[Series], values: Sequence[Series]) -> float:
    """1 - var(target - value) / var(target) over all frames; 0 where targets do not vary."""
    everything, predicted = np.concatenate(targets), np.concatenate(values)
    variance = float(np.var(everything))
    return 1.0 - float(np.var(everything - predicted)) / variance if variance > 0 else 0.0


class HeadValue:
    """The policy's value head as a value function; its gradient never reaches the policy.

    The published one was trained for another reward, so it begins at zero, and so does its running mean and variance of returns
    (VPT's normaliser). It is fitted after each iteration, so an iteration's values come from earlier ones.
    """

    RATE, STEPS, KEEPS = 1e-3, 100, 0.8

    def __init__(self, policy: GoalPolicy) -> None:
        self._head = policy.value_head
        for parameter in self._head.parameters():
            parameter.data.zero_()
        self._optimizer = torch.optim.Adam(self._head.linear.parameters(), lr=self.RATE)

    @torch.no_grad()
    def __call__(self, latent: Tensor) -> Series:
        """Values (N,) of latents (N, H)."""
        return self._head(latent).double().cpu().numpy()

    def fit(self, latents: Sequence[Tensor], targets: Sequence[Series]) -> None:
        """Move mean and variance towards those of the targets, then fit the head in their units.

        Args:
            latents: (N, H) of each episode.
            targets: (N,) of each: what the values should have been.
        """
        normalizer, head = self._head.normalizer, self._head.linear
        rows = torch.cat(list(latents)).detach().float()
        wanted = torch.from_numpy(np.concatenate(targets)).float().to(rows.device)
        with torch.no_grad():
            for average, now in (
                (normalizer.running_mean, wanted.mean()),
                (normalizer.running_mean_sq, (wanted**2).mean()),
                (normalizer.debiasing_term, torch.ones_like(normalizer.debiasing_term)),
            ):
                average.mul_(self.KEEPS).add_((1 - self.KEEPS) * now)
            scaled = normalizer.normalize(wanted)
        head.requires_grad_(True)
        for _ in range(self.STEPS):
            self._optimizer.zero_grad(set_to_none=True)
            F.mse_loss(head(rows).squeeze(-1), scaled).backward()
            self._optimizer.step()
        head.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """For resuming."""
        return {"head": self._head.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])


def _fit(features: dict[Hashable, NDArray[np.float64]], targets: dict[Hashable, Series]) -> LinearValue:
    """The regression on these groups, with the penalty that predicts each of them best from the others."""

    def fits_on(groups: list[Hashable], ridges: Sequence[float]) -> list[LinearValue]:
        rows, wanted = (np.concatenate([part[group] for group in groups]) for part in (features, targets))
        return fit_ridges(rows, wanted, ridges)

    best, groups = len(RIDGES) // 2, list(features)
    if len(groups) > 1:
        errors = np.zeros(len(RIDGES))
        for group in groups:
            fits = fits_on([other for other in groups if other != group], RIDGES)
            errors += [float(np.sum((fit(features[group]) - targets[group]) ** 2)) for fit in fits]
        best = int(np.argmin(errors))
    return fits_on(groups, RIDGES[best : best + 1])[0]


def _mean_at_step(targets: Sequence[Series]) -> list[Series]:
    longest = max(map(len, targets))
    table = np.full((len(targets), longest), np.nan)
    for row, target in enumerate(targets):
        table[row, : len(target)] = target
    mean = np.nanmean(table, axis=0)
    return [mean[: len(target)] for target in targets]
