"""Fixtures of the training that is studied."""

from tests.training.conftest import settings, tiny

__all__ = ["settings", "tiny"]
