"""Fixtures that belong to what is measured."""

from tests.mineclip.conftest import small

__all__ = ["small"]
