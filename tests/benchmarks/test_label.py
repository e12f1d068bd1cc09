"""The labelling benchmark's arithmetic, and figures that fit each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.label import frame_flop, measure_label
from steve1.idm.config import IdmConfig, write_idm_model

TINY = IdmConfig(
    hidsize=16,
    attention_heads=2,
    attention_memory_size=8,
    timesteps=8,
    n_recurrence_layers=1,
    impala_width=1,
    impala_chans=(2, 2, 2),
    img_shape=(128, 128, 2),
)


def test_the_published_model_costs_69_gflop() -> None:
    """67.6 of it in the stacks, 0.8 in the blocks of each of two windows."""
    assert frame_flop(IdmConfig()) / 1e9 == pytest.approx(69.4, abs=0.8)


def test_figures_fit_each_other(tmp_path: Path) -> None:
    write_idm_model(TINY, tmp_path / "tiny.model")
    found = measure_label(str(tmp_path / "tiny.model"), frames=16, seconds=0.05)
    assert found["frames_per_s"] > 0
    assert found["encodings_per_frame"] == pytest.approx((16 - 4 + 3 * 4) / 16)
    assert found["percent_of_bound"] == pytest.approx(
        100 * found["frames_per_s"] * found["gflop_per_frame"] / found["matmul_gflops"]
    )
    assert found["decoding_720p60_frames_per_s"] > 0
