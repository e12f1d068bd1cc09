"""`steve1.evaluate`: several weights, several tasks, the same seeds, one report.

In: settings. Out: the run's folder with its log, traces, videos and report. The first contestant is the one that the others are
compared with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.paths import ROOT, resolve

from .campaign import Plan, play_all, slug, task_rows
from .contestants import Contestant, guess_family_env, parse_contestants
from .films import films
from .report import write_report
from .suite import Task, load_suite
from .summary import summarise


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Attributes:
    contestants: weights files, "random", "nothing", "player:own"; the first is the base.
    tasks: names of the suite's tasks; "all".
    episodes: for each contestant and task.
    name: of the folder under data/evaluations; "": made from the contestants.
    folder: the folder itself, in place of the name.
    prompts: {task: prompt} in place of the suite's own.
    """

    contestants: Sequence[str]
    tasks: Sequence[str] = ("all",)
    episodes: int = 20
    name: str = ""
    folder: str = ""
    language: str = "en"
    env: str = ""
    suite: str = ""
    seed: int = 0
    workers: int = 1
    videos: int = 0
    deterministic: bool = False
    device: str = "cpu"
    timeout_s: float = 900.0
    in_model: str = ""
    mineclip_weights: str = ""
    prior_weights: str = ""
    cond_scale: float | None = None
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation leaves: the summary as data, the log's lines, and the files' paths (films relative to the folder)."""

    summary: dict[str, Any]
    lines: list[dict[str, Any]]
    tasks: list[Task]
    contestants: list[Contestant]
    folder: Path
    paths: dict[str, Path]
    films: dict[str, str]


def run_folder(kind: str, name: str, folder: str, contestants: Sequence[Contestant]) -> Path:
    """`folder` if given, else data/<kind>/<name or one made from the contestants>."""
    if folder:
        return Path(folder).expanduser() if Path(folder).is_absolute() else Path.cwd() / folder
    return ROOT / "data" / kind / slug(name or "-vs-".join(contestant.name for contestant in contestants))


def make_plan(settings: EvaluationSettings, kind: str = "evaluations") -> Plan:
    """Check everything that can be checked before anything is loaded.

    Raises:
        UserError: missing files, unknown tasks, no episodes.
    """
    contestants = parse_contestants(
        settings.contestants,
        model=settings.in_model,
        mineclip=str(resolve(settings.mineclip_weights)) if settings.mineclip_weights else "",
        prior=str(resolve(settings.prior_weights)) if settings.prior_weights else "",
        cond_scale=settings.cond_scale,
    )
    env = guess_family_env(contestants, settings.env)
    suite = load_suite(settings.suite or env)
    tasks = suite.select(settings.tasks)
    return Plan(
        suite=suite,
        tasks=tasks,
        contestants=contestants,
        rows=task_rows(tasks, settings.language, settings.prompts),
        folder=run_folder(kind, settings.name, settings.folder, contestants),
        episodes=settings.episodes,
        seed=settings.seed,
        deterministic=settings.deterministic,
        device=settings.device,
        videos=settings.videos,
        env=env,
    )


def evaluate(settings: EvaluationSettings, **injected: Any) -> Report:
    """Play what is missing, summarise, write the report.

    Args:
        settings: what to evaluate.
        injected: `open_game`, `starts_of`, `goals` of `campaign.play_all` (tests, other games).
    """
    plan = make_plan(settings)
    lines = play_all(plan, workers=settings.workers, timeout_s=settings.timeout_s, **injected)
    names = [contestant.name for contestant in plan.contestants]
    base = next((contestant.name for contestant in plan.contestants if contestant.needs_goal), names[0])
    floors = {contestant.name for contestant in plan.contestants if not contestant.needs_goal}
    summary = summarise(lines, names, [task.name for task in plan.tasks], base, floors)
    title = f"Evaluation: {', '.join(names)}"
    shown = films(plan, lines)
    paths = write_report(plan.folder, title, summary, plan.tasks, plan.settings(), shown)
    return Report(summary, lines, list(plan.tasks), list(plan.contestants), plan.folder, paths, shown)
