"""Fixtures of reinforcement learning's tests."""

from tests.evaluation.conftest import world
from tests.training.conftest import tiny

__all__ = ["tiny", "world"]
