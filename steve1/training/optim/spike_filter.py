"""Detects loss spikes: finite steps whose loss or gradient norm is far above its running mean.

The running means, of the mean over all ranks, stay on the device and are part of a resume point.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steve1.training.config import TrainSettings

WARMUP = 50  # steps before anything is judged
MEMORY = 100  # steps that the running means reach back over
_FLOOR = 0.05  # least deviation, as a share of the mean loss: a very smooth run must not make the filter strict


class SpikeFilter:
    """Running means of one run: steps counted, loss, variance of the loss, gradient norm."""

    def __init__(self, settings: TrainSettings, device: torch.device, saved: Sequence[float] = ()) -> None:
        self._loss_limit = settings.skip_loss_above or float("inf")
        self._norm_limit = settings.skip_norm_above or float("inf")
        self._seen = torch.zeros(4, device=device)
        self.restore(saved)

    def restore(self, saved: Sequence[float]) -> None:
        if len(saved) == len(self._seen):
            self._seen = torch.tensor(list(saved), device=self._seen.device)

    def spikes(self, loss: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """bool scalar: loss or gradient norm (f32 scalars) far above their running means."""
        count, mean, variance, usual = self._seen
        deviation = torch.maximum(variance.sqrt(), _FLOOR * mean.abs())
        return (count >= WARMUP) & ((loss > mean + self._loss_limit * deviation) | (norm > self._norm_limit * usual))

    def remember(self, loss: torch.Tensor, norm: torch.Tensor, skipped: torch.Tensor) -> None:
        """Update the means with a step, unless it was skipped."""
        count, mean, variance, usual = self._seen
        share = torch.clamp(1.0 / (count + 1.0), min=1.0 / MEMORY)
        change = loss - mean
        variance = (1.0 - share) * (variance + share * change**2)
        now = torch.stack([count + 1.0, mean + share * change, variance, usual + share * (norm - usual)])
        self._seen = torch.where(skipped, self._seen, now)

    def to_list(self) -> list[float]:
        return list(self._seen.tolist())
