"""What a GPU reached of what was aimed at, from the files of its measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_table import Args, main
from steve1.core.errors import UserError


def record(folder: Path, name: str, **figures: Any) -> None:
    facts = {"figures": {"device": "Test Card", **figures}, "commit": "abc", "date": "2026-11-23 07:00:00"}
    (folder / f"gpu_{name}.json").write_text(json.dumps(facts))


def trained(frames: float, megabytes: float) -> dict[str, Any]:
    split = dict.fromkeys(("data", "cnn", "transformer", "heads", "optimizer"), 0.001)
    return {"frames_per_s": frames, "percent": 40.0, "peak_memory_mb": megabytes, "split_s": split}


def test_aims_stand_beside_the_best_that_was_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="Nothing has been measured"):
        main(Args(tmp_path))
    record(tmp_path, "train", batch=8, trunc_t=64, full=trained(4000, 26 * 1024))
    record(tmp_path, "train_wide", batch=32, trunc_t=64, full=trained(7000, 90 * 1024))
    record(
        tmp_path, "train_cached", batch=8, trunc_t=64, full=trained(3900, 30 * 1024), cached=trained(90000, 30 * 1024)
    )
    steps = {
        "plain": {"ms_per_step": 9.0, "steps_per_s": 111.0},
        "bf16_graph": {"ms_per_step": 2.5, "steps_per_s": 400.0},
    }
    record(
        tmp_path,
        "acting",
        batch_1=steps,
        batch_64={"bf16": {"ms_per_step": 20.0, "steps_per_s": 3200.0}},
        peak_memory_mb_1=10.0,
    )
    main(Args(tmp_path))
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert text.startswith("Test Card; 2026-11-23; commit abc.")
    assert (
        "| 8,000 trained frames/s on an H200, 46 % on any card | 7,000 (40 % of the matrix-product rate) | train_wide |"
        in text
    )
    assert "| 24 GiB at B = 8, TRUNC_T = 64 | 26.0 GiB at B = 8, TRUNC_T = 64 | train |" in text
    assert "| guided step at batch 1 in 3 ms | 2.50 ms, 400 steps/s | bf16_graph |" in text
    assert "| train_cached, on the cache | 8 x 64 | 90,000 |" in text
    (tmp_path / "gpu_train.json").unlink()  # what was not measured is left out
    main(Args(tmp_path))
