"""Room `training`: fine-tuning a goal-conditioned policy on windows of episodes.

Comes in: settings, starting weights, sampling lists. Goes out: weights, checkpoints, curves. Imports no game, ever.
Names are imported on first use, so that `--help` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "TrainSettings": "config",
    "TrainResult": "train",
    "finetune": "train",
    "train_steve1": "train",
    "Hooks": "loop",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
