"""Evaluation: tasks, success, statistics, comparisons and their reports.

Input: weights and tasks.
Output: rates with intervals and paired differences; every episode's log line and trace.
"""

from steve1.evaluation.evaluate import Report, evaluate
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.tasks.suite import Suite, Task, load_suite

__all__ = ["EvaluationSettings", "Report", "Suite", "Task", "evaluate", "load_suite"]
