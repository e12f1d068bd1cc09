"""Evaluation: tasks, success, statistics, comparisons and their reports."""
