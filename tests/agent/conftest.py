"""The golden tiny policy and its guided runs."""

from tests.policy.conftest import inputs, tiny, tiny_model, tiny_weights

__all__ = ["inputs", "tiny", "tiny_model", "tiny_weights"]
