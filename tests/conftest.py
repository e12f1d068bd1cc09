"""Fixtures shared by every room: the golden tensors, and small real episodes."""

from __future__ import annotations

import os
from pathlib import Path

# Many small tests on few cores: threads inside each only get in one another's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of tensors made with the reference code; tests that need it skip where it is absent."""
    if not GOLDEN.is_dir():
        pytest.skip(f"golden tensors are not at {GOLDEN}")
    return GOLDEN
