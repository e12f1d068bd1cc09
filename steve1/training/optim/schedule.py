"""The learning rate: a linear rise over the warm-up, then a cosine that reaches zero at exactly the last frame."""

from __future__ import annotations

import math


def rate_at(frames: float, *, peak: float, warmup_frames: int, total_frames: int) -> float:
    """Learning rate after `frames` frames.

    Args:
        frames: seen so far, by all processes together.
        peak: highest rate, reached at `warmup_frames`.
        total_frames: where the rate is zero.
    """
    if frames < warmup_frames:
        return peak * frames / warmup_frames
    if frames >= total_frames:
        return 0.0
    share = (frames - warmup_frames) / (total_frames - warmup_frames)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))


def rate_of_step(step: int, frames_per_step: int, *, peak: float, warmup_frames: int, total_frames: int) -> float:
    """Rate of optimizer step `step` (from 0): the schedule in the middle of the frames that the step covers.

    So no step is wasted: the first one's rate is above zero, and so is the last one's.
    """
    covered = min(frames_per_step, max(1, total_frames - step * frames_per_step))
    middle = step * frames_per_step + 0.5 * covered
    return rate_at(middle, peak=peak, warmup_frames=warmup_frames, total_frames=total_frames)
