"""Fine-tune STEVE-1: the public Python API.

Names are imported on first use, so that `import steve1` costs nothing and needs no torch until a name does.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_policy": "steve1.policy",
    "save_weights": "steve1.policy",
    "GoalPolicy": "steve1.policy",
    "PolicyState": "steve1.policy",
    "PolicyOutput": "steve1.policy",
    "Agent": "steve1.agent",
    "load_idm": "steve1.idm",
    "InverseDynamicsModel": "steve1.idm",
    "load_mineclip": "steve1.mineclip",
    "MineCLIP": "steve1.mineclip",
    "load_prior": "steve1.prior",
    "Prior": "steve1.prior",
    "Episode": "steve1.data",
    "hindsight_goals": "steve1.data",
    "train_steve1": "steve1.training.train",
    "finetune": "steve1.training.train",
    "rollout": "steve1.rollout.play",
    "evaluate": "steve1.evaluation.pipeline",
}

# The function `steve1.rollout` has the name of a package. Importing a package binds its name here once; bound and removed now,
# the name always reaches __getattr__.
importlib.import_module("steve1.rollout")
del globals()["rollout"]

__all__ = ["__version__", "actions", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name == "actions":
        return importlib.import_module("steve1.actions")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'steve1' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
