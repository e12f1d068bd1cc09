"""The learning rate: a rise that starts above zero, and a cosine that ends at exactly the last frame."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from steve1.training.batches import chunk_bounds
from steve1.training.config import TrainSettings
from steve1.training.logging.reporter import rate_text
from steve1.training.optim.schedule import rate_at, rate_of_step

PLAN = TrainSettings(learning_rate=1e-5, warmup_frames=1_000_000, total_frames=10_000_000)


def test_rises_to_the_peak_and_falls_to_zero_at_the_last_frame() -> None:
    assert rate_at(500_000, PLAN) == pytest.approx(5e-6)
    assert rate_at(1_000_000, PLAN) == pytest.approx(1e-5)
    assert rate_at(5_500_000, PLAN) == pytest.approx(5e-6)
    assert rate_at(9_999_999, PLAN) > 0
    assert rate_at(10_000_000, PLAN) == 0
    assert rate_at(11_000_000, PLAN) == 0


def test_it_never_jumps() -> None:
    rates = [rate_at(frames, PLAN) for frames in range(0, 10_000_001, 10_000)]
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) <= 1.01e-7


def test_first_and_last_step_are_not_wasted() -> None:
    steps = math.ceil(10_000_000 / 512)
    rates = [rate_of_step(step, 512, PLAN) for step in range(steps)]
    assert 0 < rates[0] < 1e-8
    assert 0 < rates[-1] < 1e-10
    assert max(rates) == pytest.approx(1e-5, rel=1e-3)


def test_no_warm_up_and_one_single_step() -> None:
    short = TrainSettings(learning_rate=1.0, warmup_frames=0, total_frames=512)
    assert rate_of_step(0, 512, short) == pytest.approx(0.5)
    assert rate_of_step(0, 512, dataclasses.replace(short, total_frames=100)) > 0


def test_written_as_in_the_guide() -> None:
    assert [rate_text(rate) for rate in (5e-6, 1e-5, 1e-10, 0.0)] == ["5.0e-6", "1.0e-5", "1.0e-10", "0.0e0"]


@pytest.mark.parametrize(("T", "trunc_t"), [(160, 64), (24, 16), (40, 16)])
def test_all_frames_are_seen_where_a_window_ends_in_a_shorter_step(T: int, trunc_t: int) -> None:
    """PRESET=16gb has T=160 and TRUNC_T=64: steps of 64, 64 and 32 frames of each window."""
    plan = TrainSettings(
        T=T, trunc_t=trunc_t, batch_size=2, gradient_accum_steps=3, total_frames=100_000, warmup_frames=10_000
    )
    sizes = itertools.cycle(2 * 3 * (stop - start) for start, stop in chunk_bounds(T, trunc_t))
    seen = list(itertools.takewhile(lambda frames: frames < plan.total_frames, itertools.accumulate(sizes, initial=0)))
    assert plan.total_steps() == len(seen)
    rates = [rate_of_step(step, plan.frames_per_step(), plan) for step in range(len(seen))]
    assert max(rates) == pytest.approx(plan.learning_rate, rel=1e-2)
    assert 0 < rates[-1] < 1e-3 * plan.learning_rate
    assert all(rate == pytest.approx(rate_at(frames, plan), abs=4e-7) for rate, frames in zip(rates, seen))
