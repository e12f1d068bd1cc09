"""Ray for tests: skipped where it is not installed or cannot start."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from steve1.core.errors import UserError
from steve1.core.executor.cluster import connected_ray


def ray_or_skip() -> ModuleType:
    """The ray package; skips the test where there is none, or where Python lies in a folder from which it cannot start."""
    if any(letter.isspace() for letter in sys.executable):
        pytest.skip("ray does not start from a folder with a blank in its path")
    ray: ModuleType = pytest.importorskip("ray", reason="ray is not installed: pip install ray")
    return ray


def started_ray() -> ModuleType:
    """Ray, with a cluster of this machine. Ray waits 30 s for its own processes, which is not enough everywhere: it is tried three times."""
    ray = ray_or_skip()
    for left in (2, 1, 0):
        try:
            return connected_ray("")
        except UserError:
            ray.shutdown()
            if not left:
                raise
    return ray
