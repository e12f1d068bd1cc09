"""Evaluation: tasks, success, statistics, comparisons and their reports.

In: weights and tasks. Out: rates with intervals, paired differences, prompt matrices; every episode's log line and trace.
"""

from .evaluate import Report, evaluate
from .matrix import prompt_matrix
from .settings import EvaluationSettings
from .suite import Suite, Task, load_suite

__all__ = ["EvaluationSettings", "Report", "Suite", "Task", "evaluate", "load_suite", "prompt_matrix"]
