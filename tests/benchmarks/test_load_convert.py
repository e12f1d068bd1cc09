"""The loading benchmark: distinct windows of a real dataset, every pixel accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.convert import measure_convert
from benchmarks.load import make_dataset, measure_load


@pytest.mark.e2e
def test_load_is_measured_with_every_pixel_checked(tmp_path: Path) -> None:
    made = make_dataset(tmp_path / "set", 700, episode_frames=350)
    found = measure_load(made, T=64, batch_size=2)
    assert found["pixel_sum"] == found["pixel_sum_expected"] > 0
    assert found["windows"] == 12
    assert found["frames"] == 12 * 64
    assert found["frames_per_s"] > 0
    assert found["percent_of_decode"] > 0
    assert 4000 < found["bytes_per_frame"] < 10240


def test_convert_is_measured_beside_decoding() -> None:
    found = measure_convert(80)
    assert found["frames"] == 80
    assert 0 < found["percent_of_decode"] < 100
    assert found["times_real_time"] == pytest.approx(found["frames_per_cpu_s"] / 20, rel=0.01)
    assert 4000 < found["frame_bytes"] < 10240
