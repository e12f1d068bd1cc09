"""`steve1.evaluate`: several weights, several tasks, the same seeds, one report.

Input: settings. The first weights file is the one that the others are compared with.
Output: the run's folder with its log, traces, videos and report.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from steve1.evaluation.demonstrations import demonstrated_goals
from steve1.evaluation.policies import PolicySpec
from steve1.evaluation.report.failures import failures, replay
from steve1.evaluation.report.report import write_report
from steve1.evaluation.report.videos import films
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.runner.plan import Plan, make_plan
from steve1.evaluation.runner.run import plan_goals, plan_similarity, play_plan
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.statistics.attribution import attribute
from steve1.evaluation.statistics.sequential import SequentialTest
from steve1.evaluation.statistics.summary import summarise
from steve1.evaluation.tasks.suite import Task


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of an evaluation: the summary as data, the log's lines, and the files' paths (films relative to the folder)."""

    summary: dict[str, Any]
    lines: list[dict[str, Any]]
    tasks: list[Task]
    policies: list[PolicySpec]
    folder: Path
    paths: dict[str, Path]
    films: dict[str, str]


def sequential_test(plan: Plan) -> SequentialTest | None:
    """Decides what is played on; None for a fixed number of episodes."""
    if not plan.looks:
        return None
    others = [spec.name for spec in plan.policies if spec.needs_goal and not spec.is_variant and spec != plan.base]
    return SequentialTest(plan.looks, plan.base.name, tuple(others), tuple(plan.task_names), plan.targets)


def attribution_inputs(plan: Plan, inputs: EpisodeInputs) -> EpisodeInputs:
    """`inputs` with the goals of all three kinds, those of demonstrations among them."""
    goals = plan_goals(plan, demonstrated_goals(plan, inputs))
    similarity = inputs.similarity or plan_similarity(plan, goals)
    return dataclasses.replace(inputs, goals=goals, similarity=similarity)


def evaluate(settings: EvaluationSettings, inputs: EpisodeInputs | None = None) -> Report:
    """Play what is missing, summarise, write the report.

    Args:
        settings: what to evaluate.
        inputs: the game and the goals, where they are not those of the settings.
    """
    plan, inputs = make_plan(settings), inputs or EpisodeInputs()
    if settings.attribution and inputs.goals is None:
        inputs = attribution_inputs(plan, inputs)
    lines = play_plan(plan, inputs, decide=sequential_test(plan))
    names = [spec.name for spec in plan.policies if not spec.is_variant]
    baselines = {spec.name for spec in plan.policies if not spec.needs_goal}
    summary = summarise(lines, names, plan.task_names, plan.base.name, baselines, looks=plan.looks, target=plan.targets)
    summary["attribution"] = attribute(lines, plan.policies, plan.task_names)
    summary["failures"] = failures(plan, lines, plan.base.name)
    if settings.record_failures:
        replay(plan, summary["failures"][: settings.record_failures], lines, inputs)
    shown = films(plan, lines)
    paths = write_report(plan, f"Evaluation: {', '.join(names)}", summary, lines, shown)
    return Report(summary, lines, list(plan.tasks), list(plan.policies), plan.folder, paths, shown)
