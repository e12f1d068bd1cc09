"""The policy: the network that VPT and STEVE-1 published, reading and writing its weights, and its imitation loss.

Comes in: settings, weights, frames and goals. Goes out: log-probabilities of actions, losses, recurrent state.
"""

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
