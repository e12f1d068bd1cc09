"""The soak's figures: growth between quarters, and what of /dev/shm belongs to a process."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from benchmarks import soak
from steve1.core.errors import UserError


def test_growth_is_between_the_first_and_the_last_quarter() -> None:
    rows = [
        {"all_rss_mb": value, "all_open_files": 4.0, "all_shm_mb": 0.0} for value in (100.0, 1, 1, 1, 1, 1, 1, 110.0)
    ]
    found = soak._growth(rows[:1] * 2 + rows[1:-1] + rows[-1:] * 2, "all")
    assert found["rss_mb_growth_percent"] == 10
    assert found["open_files_growth_percent"] == found["shm_mb_growth_percent"] == 0


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory in the file system")
def test_a_processs_files_in_shared_memory_are_its_own() -> None:
    path = Path("/dev/shm") / f"steve1_test_{uuid.uuid4().hex}"
    try:
        with open(path, "wb") as handle:
            handle.write(bytes(100_000))
            handle.flush()
            assert path.name in soak._shared_entries(os.getpid())
            assert soak._size(path) >= 100_000
            assert soak._figures([os.getpid()])["shm_mb"] >= 0.1
        assert path.name not in soak._shared_entries(os.getpid())
    finally:
        path.unlink()
    assert soak._size(path) == 0


@pytest.mark.e2e
def test_a_part_that_ends_before_its_time_is_told_with_its_log(tmp_path: Path) -> None:
    parts = {"training": soak._start("training", ["train", "--no_such_option"], tmp_path)}
    parts["games"] = parts["training"]
    with pytest.raises(UserError, match="ended before its time") as fault:
        parts["training"].wait()
        soak._watch(parts, tmp_path, 60)
    assert "no_such_option" in str(fault.value)
