"""Failures worth watching: which failed episodes teach most, and the same episodes played again and recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.runner.plan import AGAIN, Plan, make_jobs
from steve1.evaluation.runner.run import play_plan
from steve1.evaluation.statistics.summary import Lines, own_row

_EACH = 3


def failures(plan: Plan, lines: Lines, base: str) -> list[dict[str, Any]]:
    """For each weights and task at most three failed episodes, the most telling first, tasks in turn.

    Most telling: where the base succeeded on the same seed; then where the player died; then by the measure: how near it came.
    """
    ranked: list[tuple[int, dict[str, Any]]] = []
    for task in plan.tasks:
        name = task.name
        won = {line["number"] for line in own_row(lines, name, base) if line["success"][name]}
        sign = 1 if task.lower_is_better else -1
        for policy in plan.policies:
            if not policy.needs_goal or policy.is_variant:
                continue
            found = []
            for line in own_row(lines, name, policy.name):
                if line["success"][name]:
                    continue
                rank, why = 2, "nearest"
                if policy.name != base and line["number"] in won:
                    rank, why = 0, "base"
                elif line["ended"] == "terminated":
                    rank, why = 1, "died"
                entry = {key: line[key] for key in ("key", "contestant", "number", "video", "steps")}
                entry |= {"task": name, "why": why, "measure": line["measure"][name]}
                found.append(((rank, sign * line["measure"][name], line["number"]), entry))
            ranked += enumerate(entry for _, entry in sorted(found, key=lambda pair: pair[0])[:_EACH])
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def replay(plan: Plan, wanted: Sequence[dict[str, Any]], lines: Lines, inputs: EpisodeInputs) -> None:
    """Play failed episodes without a video again, with the same seed, and record them; their entries then name the video.

    A game is not exactly repeatable, so the entry also says whether the episode failed again.
    """
    missing = {entry["key"]: entry for entry in wanted if not entry["video"]}
    if not missing:
        return
    episodes: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["key"] in missing:
            row = (line["contestant"], line["row"])
            episodes[row] = max(episodes.get(row, 0), line["number"] + 1)
    again = [
        dataclasses.replace(job, key=f"{job.key}{AGAIN}", video=f"videos/{job.key}{AGAIN}.mp4", similarity=False)
        for job in make_jobs(plan, inputs.starts_of, episodes)
        if job.key in missing
    ]
    for line in play_plan(plan, inputs, jobs=again):
        entry = missing[line["key"].removesuffix(AGAIN)]
        entry["video"] = line["video"]
        entry["again"] = "succeeded again" if line["success"][entry["task"]] else "failed again"
