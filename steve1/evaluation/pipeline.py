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
from steve1.evaluation.runner.plan import make_plan
from steve1.evaluation.runner.run import complete_inputs, play_plan
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

    @property
    def film(self) -> Path | None:
        """The first side-by-side video."""
        return next((self.folder / name for name in self.films.values()), None)


def evaluate(settings: EvaluationSettings, inputs: EpisodeInputs | None = None) -> Report:
    """Play what is missing, summarise, write the report.

    Args:
        settings: what to evaluate.
        inputs: the game and the goals, where they are not those of the settings.
    """
    plan, inputs = make_plan(settings), inputs or EpisodeInputs()
    tasks, base = plan.task_names, plan.base.name
    target = [name for name in plan.targets if name in tasks]
    falling = [task.name for task in plan.tasks if task.lower_is_better]
    names = [spec.name for spec in plan.policies if not spec.is_variant]
    baselines = {spec.name for spec in plan.policies if not spec.needs_goal}
    if settings.attribution and inputs.goals is None:
        inputs = complete_inputs(plan, inputs, demonstrated_goals(plan, inputs))
    others = tuple(name for name in names if name not in baselines and name != base)
    decide = SequentialTest(plan.looks, base, others, tuple(tasks), target) if plan.looks else None
    lines = play_plan(plan, inputs, decide=decide)
    summary = summarise(lines, names, tasks, base, baselines, looks=plan.looks, target=target, lower_is_better=falling)
    known = sum("known" in line for line in lines)
    summary |= {"roles": plan.roles, "target_found": plan.targets_found, "known": [known, settings.known_results]}
    summary["unplayed"] = [name for name in plan.targets if name not in tasks]
    summary["attribution"] = attribute(lines, plan.policies, tasks)
    summary["failures"] = failures(plan, lines, base)
    if settings.record_failures:
        replay(plan, summary["failures"][: settings.record_failures], lines, inputs)
    shown = films(plan, lines)
    paths = write_report(plan, summary, lines, shown)
    return Report(summary, lines, list(plan.tasks), list(plan.policies), plan.folder, paths, shown)
