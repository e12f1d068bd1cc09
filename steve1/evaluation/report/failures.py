"""Failures worth watching: those from which one learns something.

In: an evaluation's lines. Out: a short list, most telling first, each with the reason why it is on it; and, where asked for, the same episodes
played again with the same seed and filmed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from steve1.evaluation.runner.campaign import ExecutorConfig, Plan, make_jobs, play_all
from steve1.evaluation.statistics.summary import own_row

_EACH = 3


def failures(plan: Plan, lines: Sequence[Mapping[str, Any]], base: str) -> list[dict[str, Any]]:
    """For each weights and task at most three failed episodes, the most telling first, tasks in turn.

    Most telling: where the base succeeded on the same seed; then where the player died; then by the measure: how near it came.
    """
    ranked: list[tuple[int, dict[str, Any]]] = []
    for task in plan.tasks:
        won = {line["number"] for line in own_row(lines, task.name, base) if line["success"][task.name]}
        for policy in plan.policies:
            if not policy.needs_goal or policy.is_variant:
                continue
            failed = [line for line in own_row(lines, task.name, policy.name) if not line["success"][task.name]]
            # A rule of the kind "at most" is nearest where the measure is lowest.
            sign = -1 if getattr(task.success, "at_most", None) is not None else 1
            scored = sorted(
                failed,
                key=lambda line: (
                    -_reason(line, won, policy.name, base)[0],
                    -sign * line["measure"][task.name],
                    line["number"],
                ),
            )
            for place, line in enumerate(scored[:_EACH]):
                why = _reason(line, won, policy.name, base)[1]
                entry = {"key": line["key"], "contestant": policy.name, "task": task.name, "number": line["number"], "why": why,
                         "measure": line["measure"][task.name], "video": line["video"]}  # fmt: skip
                ranked.append((place, entry))
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]


def _reason(line: Mapping[str, Any], won: set[int], who: str, base: str) -> tuple[int, str]:
    if who != base and line["number"] in won:
        return 2, f"{base} succeeded on the same seed"
    if line["ended"] == "terminated":
        return 1, f"died after {line['steps']} steps"
    return 0, "came nearest"


def replay(
    plan: Plan,
    executor: ExecutorConfig,
    wanted: Sequence[dict[str, Any]],
    lines: Sequence[Mapping[str, Any]],
    injected: Mapping[str, Any],
) -> None:
    """Play failed episodes that have no video again, with the same seed, filmed; their entries then name the film.

    A game is not exactly repeatable, so the entry also says whether the episode failed again.
    """
    missing = {entry["key"]: entry for entry in wanted if not entry["video"]}
    if not missing:
        return
    known = {line["key"]: line for line in lines}
    numbers: dict[tuple[str, str], int] = {}
    for key in missing:
        place = (known[key]["contestant"], known[key]["row"])
        numbers[place] = max(numbers.get(place, 0), known[key]["number"] + 1)
    starts = {"starts_of": injected["starts_of"]} if "starts_of" in injected else {}
    jobs = [job for job in make_jobs(plan, asked=numbers, **starts) if job.key in missing]
    again = [
        dataclasses.replace(job, key=f"{job.key}-again", video=f"videos/{job.key}-again.mp4", similarity=False)
        for job in jobs
    ]
    for line in play_all(plan, executor, exactly=again, **injected):
        entry = missing[line["key"].removesuffix("-again")]
        entry["video"] = line["video"]
        entry["again"] = "succeeded when played again" if line["success"][entry["task"]] else "failed again"
