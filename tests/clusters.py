"""Ray for tests: skipped where it is not installed or cannot start."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def ray_or_skip() -> ModuleType:
    """The ray package; skips the test where there is none, or where Python lies in a folder from which it cannot start."""
    if any(letter.isspace() for letter in sys.executable):
        pytest.skip("ray does not start from a folder with a blank in its path")
    ray: ModuleType = pytest.importorskip("ray", reason="ray is not installed: pip install ray")
    return ray
