"""The learning rate: a rise that starts above zero, and a cosine that ends at exactly the last frame."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

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
