"""The golden arrays: stored exactly in 16 bits, each file described, small enough for a repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import goldens


def test_values_in_16_bits_come_back_as_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goldens, "GOLDEN", tmp_path)
    exact = np.array([[1.0, -2.5], [0.0078125, 3e38]], np.float32)
    exact.view(np.uint32)[...] &= 0xFFFF0000
    halves = (exact.view(np.uint32) >> 16).astype(np.uint16)
    floats = np.array([0.1, -65504.0], np.float16)
    np.savez(tmp_path / "a.npz", **{"net.w@float32": halves, "goal@float32": floats, "half": floats, "frames": halves})
    found = goldens.golden_arrays("a.npz")
    assert list(found) == ["net.w", "goal", "half", "frames"]
    assert found["net.w"].dtype == found["goal"].dtype == np.float32
    assert np.array_equal(found["net.w"], exact)
    assert np.array_equal(found["goal"], floats.astype(np.float32))
    assert (found["half"].dtype, found["frames"].dtype) == (np.float16, np.uint16)


def test_every_file_is_described_and_read(golden: Path) -> None:
    described = (golden / "README.md").read_text(encoding="utf-8")
    files = [path for path in golden.iterdir() if path.name != "README.md"]
    assert [path.name for path in files if f"`{path.name}`" not in described] == []
    assert sum(path.stat().st_size for path in golden.iterdir()) < 12_000_000
    assert all(goldens.golden_arrays(path.name) for path in files if path.suffix == ".npz")
