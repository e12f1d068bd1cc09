"""Runs jobs on processes of this machine or on a Ray cluster, and replaces workers that die or hang."""

from __future__ import annotations

from steve1.core.executor.jobs import ExecutorConfig, JobResult, Recipe, Restarts, Runner, WorkerDied
from steve1.core.executor.run import job_results, run_jobs

__all__ = ["ExecutorConfig", "JobResult", "Recipe", "Restarts", "Runner", "WorkerDied", "job_results", "run_jobs"]
