"""Evaluation: tasks, success, statistics, comparisons and their reports.

Input: weights and tasks.
Output: rates with intervals and paired differences; every episode's log line and trace.

Names are imported on first use: recording and `--help` need tasks and settings, but no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "EvaluationSettings": "steve1.evaluation.settings",
    "Report": "steve1.evaluation.pipeline",
    "Suite": "steve1.evaluation.tasks.suite",
    "Task": "steve1.evaluation.tasks.suite",
    "evaluate": "steve1.evaluation.pipeline",
    "load_suite": "steve1.evaluation.tasks.suite",
}

__all__ = ["EvaluationSettings", "Report", "Suite", "Task", "evaluate", "load_suite"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'steve1.evaluation' has no attribute {name!r}")
