"""Side-by-side videos of an evaluation's episodes.

In: episode lines with their videos and traces. Out: one video for each task and episode, each player's running measure below its picture.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.evaluation.runner.campaign import Plan
from steve1.evaluation.statistics.summary import own_row
from steve1.evaluation.tasks.suite import Task
from steve1.rollout.trace import Trace
from steve1.rollout.video import Panel, side_by_side


def panel(plan: Plan, line: Mapping[str, Any], task: Task) -> Panel:
    """One player's video with the task's measure at each step, and the verdict at the end."""
    trace = Trace.load(plan.folder / "traces" / line["key"])
    won = bool(line["success"][task.name])
    # Frame n shows the state before action n; the last entry is the verdict, after the last action.
    lines = [f"{task.measure_name}: {value:.1f}" for value in task.measure.series(trace)]
    lines.append(f"{lines[-1]}   {'success' if won else 'no success'}")
    return Panel(plan.folder / line["video"], line["contestant"], lines, won)


def film(plan: Plan, lines: Sequence[dict[str, Any]], task: Task, number: int, path: str | os.PathLike[str]) -> bool:
    """Put all policies' episode `number` of `task` into one video; False where none was filmed."""
    panels = []
    for policy in plan.policies:
        rows = own_row(lines, task.name, policy.name)
        line = next((row for row in rows if row["number"] == number), None)
        if line and line["video"] and (plan.folder / line["video"]).exists():
            panels.append(panel(plan, line, task))
    if not panels:
        return False
    prompt = next((row.prompt for row in plan.rows if row.task == task.name), task.name)
    side_by_side(panels, path, heading=f"{prompt}   (episode {number})")
    return True


def films(plan: Plan, lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """All the plan's side-by-side videos, those that exist kept: {caption: path relative to the run's folder}."""
    found: dict[str, str] = {}
    who = "-vs-".join(policy.name.replace("/", "-").replace(":", "-") for policy in plan.policies)[:80]
    for task in plan.tasks:
        for number in range(plan.videos):
            name = f"videos/{task.name}-{number:03d}-{who}.mp4"
            if (plan.folder / name).exists() or film(plan, lines, task, number, plan.folder / name):
                found[f"{task.name}, episode {number}"] = name
    return found


def copy_file(source: Path, target: Path) -> Path:
    """Copy a finished video to where the user wants it, whole or not at all."""
    from steve1.core.files import atomic_file

    with open(source, "rb") as read, atomic_file(target) as write:
        for piece in iter(lambda: read.read(1 << 20), b""):
            write.write(piece)
    return target
