"""Fine-tuning a goal-conditioned policy on windows of episodes.

Input: settings, starting weights, sampling lists. Output: weights, checkpoints, curves. Imports no game.
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
