"""Fixtures of reinforcement learning's tests."""

from tests.evaluation.conftest import world

__all__ = ["world"]
