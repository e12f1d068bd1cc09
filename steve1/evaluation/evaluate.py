"""`steve1.evaluate`: several weights, several tasks, the same seeds, one report.

In: settings. Out: the run's folder with its log, traces, videos and report. The first weights file is the one that the others are
compared with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.paths import output_path, resolve
from steve1.evaluation.demonstrations import VisualPrompt, play_demonstrations, shown_goals
from steve1.evaluation.policies import PolicySpec, choose_env, goals_for, parse_policies
from steve1.evaluation.report.failures import failures, replay
from steve1.evaluation.report.report import write_report
from steve1.evaluation.report.videos import films
from steve1.evaluation.runner.campaign import ExecutorConfig, Plan, make_similarity, play_all, slug, task_rows
from steve1.evaluation.runner.episodes import starts_for
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.statistics.attribution import attribute, variants
from steve1.evaluation.statistics.sequential import SequentialTest
from steve1.evaluation.statistics.summary import summarise
from steve1.evaluation.statistics.tests import looks
from steve1.evaluation.tasks.suite import Task, load_suite
from steve1.goals import GoalEncoder


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation leaves: the summary as data, the log's lines, and the files' paths (films relative to the folder)."""

    summary: dict[str, Any]
    lines: list[dict[str, Any]]
    tasks: list[Task]
    policies: list[PolicySpec]
    folder: Path
    paths: dict[str, Path]
    films: dict[str, str]


def run_folder(kind: str, name: str, folder: str, policies: Sequence[PolicySpec]) -> Path:
    """`folder` if given, else data/<kind>/<name or one made from the policies>."""
    return output_path(folder or f"data/{kind}/{slug(name or '-vs-'.join(spec.name for spec in policies))}")


def executor_config(settings: EvaluationSettings) -> ExecutorConfig:
    """How the settings want jobs to be run."""
    return ExecutorConfig(settings.workers, settings.timeout_s, settings.max_restarts, settings.batched, settings.ray)


def make_plan(settings: EvaluationSettings, kind: str = "evaluations") -> Plan:
    """Check everything that can be checked before anything is loaded.

    Raises:
        UserError: missing files, unknown tasks, tasks of another game, no episodes.
    """
    policies = parse_policies(
        settings.weights,
        model=settings.in_model,
        mineclip=str(resolve(settings.mineclip_weights)) if settings.mineclip_weights else "",
        prior=str(resolve(settings.prior_weights)) if settings.prior_weights else "",
        cond_scale=settings.cond_scale,
        temperature=settings.temperature,
    )
    env = choose_env(policies, settings.env)
    suite = load_suite(settings.suite or env)
    if suite.env != env:
        raise UserError(
            "These tasks belong to another game.",
            where=suite.path,
            expected=env,
            got=suite.env,
            todo=f"pass --env {suite.env}, or another --suite",
        )
    tasks = suite.select(settings.tasks)
    suite.select([name for name in settings.target if name])
    folder = run_folder(kind, settings.name, settings.folder, policies)
    adaptive = settings.stopping == "sequential"
    if adaptive and settings.episodes >= 1 and sum(spec.needs_goal for spec in policies) < 2:
        raise UserError(
            "Until settled means a comparison, and that needs two weights files.", got=", ".join(settings.weights)
        )
    return Plan(
        suite=suite,
        tasks=tasks,
        policies=variants(policies) if settings.attribution else policies,
        rows=task_rows(tasks, settings.language, settings.prompts),
        folder=folder,
        episodes=settings.episodes,
        seed=settings.seed,
        deterministic=settings.deterministic,
        device=settings.device,
        videos=settings.videos,
        similarity=settings.similarity,
        looks=looks(settings.episodes, settings.max_episodes) if adaptive else (),
        env=env,
    )


def base_of(plan: Plan) -> str:
    """The policy that the others are compared with: the first weights, else the first."""
    return next((each.name for each in plan.policies if each.needs_goal), plan.policies[0].name)


def sequential_test(plan: Plan, target: Sequence[str]) -> SequentialTest | None:
    """Who decides what is played on, for an adaptive plan."""
    others = tuple(
        each.name for each in plan.policies if each.needs_goal and not each.is_variant and each.name != base_of(plan)
    )
    return (
        SequentialTest(plan.looks, base_of(plan), others, tuple(task.name for task in plan.tasks), tuple(target))
        if plan.looks
        else None
    )


def demonstrated(plan: Plan, settings: EvaluationSettings, open_game: Any, starts_of: Any) -> dict[str, Any]:
    """{prompt: goal} from demonstrations, of the first weights' MineCLIP; the game is opened only if one must be played."""
    from steve1.rollout.supervise import SupervisedEnv

    base = next(each for each in plan.policies if each.needs_goal)
    clip = GoalEncoder(base.metadata, device=plan.device).mineclip
    opener = open_game or _opener(plan.env)
    with SupervisedEnv(lambda: opener(0)) as game:

        def show(task: Task) -> list[VisualPrompt]:
            return play_demonstrations(task, game, clip.stream(), starts_of(plan.env, task.biome, "demo"), plan.seed)

        goals = shown_goals(
            plan.tasks, plan.folder, demonstrations=settings.demonstrations, width=clip.embed_dim, show=show
        )
    return {row.prompt: goals[row.task] for row in plan.rows if row.task in goals}


def _opener(env: str) -> Any:
    from steve1.evaluation.runner.campaign import OpenGame

    return OpenGame(env)


def evaluate(settings: EvaluationSettings, **injected: Any) -> Report:
    """Play what is missing, summarise, write the report.

    Args:
        settings: what to evaluate.
        injected: `open_game`, `starts_of`, `goals`, `judge` of `campaign.play_all` (tests, other games).
    """
    plan = make_plan(settings)
    target = [task.name for task in plan.suite.select(settings.target)] if settings.target else []
    if settings.attribution and "goals" not in injected:
        injected = {**injected, **_attribution_goals(plan, settings, injected)}
    executor = executor_config(settings)
    lines = play_all(plan, executor, decide=sequential_test(plan, target), **injected)
    names = [spec.name for spec in plan.policies if not spec.is_variant]
    baselines = {spec.name for spec in plan.policies if not spec.needs_goal}
    tasks = [task.name for task in plan.tasks]
    summary = summarise(lines, names, tasks, base_of(plan), baselines, looks=plan.looks, target=target)
    summary["attribution"] = attribute(lines, plan.policies, tasks)
    summary["failures"] = failures(plan, lines, base_of(plan))
    if settings.record_failures:
        replay(plan, executor, summary["failures"][: settings.record_failures], lines, injected)
    shown = films(plan, lines)
    paths = write_report(plan, f"Evaluation: {', '.join(names)}", summary, lines, shown)
    return Report(summary, lines, list(plan.tasks), list(plan.policies), plan.folder, paths, shown)


def _attribution_goals(plan: Plan, settings: EvaluationSettings, injected: Mapping[str, Any]) -> dict[str, Any]:
    """Goals of all three kinds, and who measures similarity."""
    shown = demonstrated(plan, settings, injected.get("open_game"), injected.get("starts_of", starts_for))
    prompts = sorted({row.prompt for row in plan.rows})
    goals = goals_for(plan.policies, prompts, seed=plan.goal_seed, shown=shown, translations=plan.suite.translations)
    return {"goals": goals, "judge": injected.get("judge") or make_similarity(plan, goals)}
