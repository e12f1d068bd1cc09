"""The learning rate: a linear rise over the warm-up, then a cosine that reaches zero at exactly the last frame."""

from __future__ import annotations

import math

from steve1.training.config import TrainSettings, frames_of_steps


def rate_at(frames: float, settings: TrainSettings) -> float:
    """Learning rate after `frames` frames, all processes together."""
    warmup, total = settings.warmup_frames, settings.total_frames
    if frames < warmup:
        return settings.learning_rate * frames / warmup
    if frames >= total:
        return 0.0
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (frames - warmup) / (total - warmup)))


def rate_of_step(step: int, frames_per_step: int, settings: TrainSettings) -> float:
    """Rate of optimizer step `step` (from 0): the schedule in the middle of the step's frames, so that no step's rate is zero."""
    before, after = (frames_of_steps(n, frames_per_step, settings.T, settings.trunc_t) for n in (step, step + 1))
    covered = min(after - before, max(1, settings.total_frames - before))
    return rate_at(before + 0.5 * covered, settings)
