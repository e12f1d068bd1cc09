"""Episodes of old skills that the same weights have played before, under the same settings: an evaluation need not play them again.

Input: the folder of that evaluation (settings.json and episodes.jsonl; traces and videos may be missing), a plan and its jobs.
Output: lines for the plan's log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import display, resolve, slug
from steve1.evaluation.policies import PolicySpec
from steve1.evaluation.runner.plan import AGAIN, Job, Plan

_SAME = ("env", "seed", "goal_seed", "deterministic")
_SAME_POLICY = (
    *("kind", "sha256", "model_sha256", "mineclip_sha256", "prior_sha256"),
    *("cond_scale", "temperature", "prior_code", "goal", "goal_sha256"),
)


def known_lines(plan: Plan, jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Lines of `plan.settings.known_results` for those of the jobs that were played there; none where weights or settings are others.

    Tasks that were to be learned are played when videos are asked for, so that they can be filmed. A line says in "known" where it comes from.

    Raises:
        UserError: the folder holds no evaluation, or a damaged one.
    """
    if not plan.settings.known_results:
        return []
    folder = results_folder(plan.settings.known_results)
    then, now = read_json(folder / "settings.json"), plan.facts()
    suites = {plan.suite.digest, *plan.suite.earlier_digests()}
    if any(then.get(name) != now[name] for name in _SAME) or then.get("suite_sha256") not in suites:
        return []
    names = {spec.name: there for spec in plan.policies if (there := _called_there(spec, then["contestants"]))}
    lines = read_lines(folder / "episodes.jsonl")
    found: list[dict[str, Any]] = []
    for job in jobs:
        filmed = job.row in plan.targets and plan.settings.videos
        if job.policy not in names or filmed or then["prompts"].get(job.row) != job.prompt:
            continue
        line = lines.get(f"{slug(names[job.policy])}/{job.key.partition('/')[2]}")
        start = (job.start or {}).get("id")
        if line and (line["seed"], line.get("start")) == (job.seed, start) and set(job.tasks) <= set(line["success"]):
            own = {"key": job.key, "contestant": job.policy, "video": "", "similarity": False}
            found.append({**line, **own, "known": display(folder)})
    return found


def results_folder(name: str) -> Path:
    """The folder of an evaluation. UserError where it holds none."""
    folder = resolve(name)
    if not _holds_results(folder):
        raise UserError(
            "This folder holds no results of an evaluation.",
            where=display(folder),
            expected="settings.json and episodes.jsonl",
            todo="leave --known_results out, or name the folder of an evaluation",
        )
    return folder


def _holds_results(folder: Path) -> bool:
    return (folder / "settings.json").is_file() and (folder / "episodes.jsonl").is_file()


def known_successes(folder: Path, weights_sha256: str) -> dict[str, tuple[int, int]]:
    """{task: successes and episodes of its own prompt, with the prior's goals} of weights in an evaluation; empty where there is none, or none of these weights."""
    if not _holds_results(folder):
        return {}
    played = read_json(folder / "settings.json").get("contestants", ())
    names = {each.get("name") for each in played if each.get("sha256") == weights_sha256 and not each.get("goal")}
    found: dict[str, tuple[int, int]] = {}
    for line in read_lines(folder / "episodes.jsonl").values() if names else ():
        task = line["row"]
        if line["contestant"] in names and task in line["success"]:
            won, count = found.get(task, (0, 0))
            found[task] = (won + bool(line["success"][task]), count + 1)
    return found


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Lines of episodes by key, without those that were played again to be filmed; the file is somebody else's and is not repaired.

    A last line that a kill cut off does not count.
    """
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        lines = [json.loads(text) for text in whole.split("\n")] if whole else []
        return {line["key"]: line for line in lines if not line["key"].endswith(AGAIN)}
    except (ValueError, KeyError, TypeError) as fault:
        raise UserError("These results have a damaged line.", where=display(path), got=str(fault)) from None


def _called_there(spec: PolicySpec, policies: Iterable[Mapping[str, Any]]) -> str:
    """The name of this policy in the other evaluation, by its files' hashes and how it plays; "" where it did not play.

    The goals of demonstrations are not known by a hash, so what was played with them is never taken.
    """
    facts = spec.facts() if spec.kind == "weights" and spec.goal != "shown" else {}
    same = (each for each in policies if facts and all(each.get(name) == facts.get(name) for name in _SAME_POLICY))
    return next((str(each["name"]) for each in same), "")
