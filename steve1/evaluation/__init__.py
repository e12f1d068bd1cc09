"""Evaluation: tasks, success, statistics, comparisons and their reports.

In: weights and tasks. Out: rates with intervals, paired differences, prompt matrices; every episode's log line and trace.
"""

from research.matrix import prompt_matrix
from steve1.evaluation.evaluate import Report, evaluate
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.tasks.suite import Suite, Task, load_suite

__all__ = ["EvaluationSettings", "Report", "Suite", "Task", "evaluate", "load_suite", "prompt_matrix"]
