"""Side-by-side videos: one for each task and episode, with each policy's running measure below its picture."""

from __future__ import annotations

import hashlib

from steve1.core.messages import message
from steve1.core.paths import slug
from steve1.evaluation.runner.plan import Plan
from steve1.evaluation.statistics.summary import Lines, own_row
from steve1.evaluation.tasks.suite import Task
from steve1.rollout.trace import Trace
from steve1.rollout.video import Panel, side_by_side


def films(plan: Plan, lines: Lines) -> dict[str, str]:
    """The plan's side-by-side videos, of targets first, those that exist kept: {caption: path relative to the run's folder}."""
    found: dict[str, str] = {}
    who = _names(plan)
    for task in sorted(plan.tasks, key=lambda task: task.name not in plan.targets):
        prompt = next((row.prompt for row in plan.rows if row.task == task.name), task.name)
        for number in range(plan.settings.videos):
            name = f"videos/{slug(task.name)}-{number:03d}-{who}.mp4"
            if not (plan.folder / name).exists():
                panels = _panels(plan, lines, task, number)
                if not panels:
                    continue
                side_by_side(panels, plan.folder / name, heading=f"{prompt}   (episode {number})")
            found[message("film", task=task.name, number=number)] = name
    return found


def _names(plan: Plan) -> str:
    """The policies as part of a film's name. Long names are cut, so a digest tells them from others that begin alike, whose film is another one."""
    names = "-vs-".join(policy.name for policy in plan.policies)
    return slug(names) if len(names) <= 60 else f"{slug(names)[:70]}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def _panels(plan: Plan, lines: Lines, task: Task, number: int) -> list[Panel]:
    """Each policy's video of an episode with the task's measure at each step, and the verdict at the end."""
    panels = []
    for policy in plan.policies:
        line = next((row for row in own_row(lines, task.name, policy.name) if row["number"] == number), None)
        if line and line["video"] and (plan.folder / line["video"]).exists():
            trace = Trace.load(plan.folder / "traces" / line["key"])
            won = bool(line["success"][task.name])
            # Frame n shows the state before action n; the last entry is the verdict, after the last action.
            texts = [f"{task.measure_name}: {value:.1f}" for value in task.measure.series(trace)]
            texts.append(f"{texts[-1]}   {'success' if won else 'no success'}")
            who = plan.roles.get(policy.name, policy.name)
            panels.append(Panel(plan.folder / line["video"], who, texts, won))
    return panels
