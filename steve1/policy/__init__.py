"""The policy: the network that VPT and STEVE-1 published, its weights files, and its behaviour cloning loss."""

from steve1.policy.config import PolicyConfig, read_model, write_model
from steve1.policy.network import GoalPolicy, LossOutput, PolicyOutput
from steve1.policy.state import PolicyState
from steve1.policy.weights import load_policy, read_weights, save_weights

__all__ = [
    "GoalPolicy",
    "LossOutput",
    "PolicyConfig",
    "PolicyOutput",
    "PolicyState",
    "load_policy",
    "read_model",
    "read_weights",
    "save_weights",
    "write_model",
]
