"""From settings to finished episodes: the part that `evaluate`, `compare` and the prompt matrix share.

In: policies, tasks, rows (what they are asked for), a number of episodes, a folder. Out: the folder's episode log, complete.
Run again after a kill, it plays what is missing and nothing twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import existing_file
from steve1.core.messages import progress
from steve1.core.processes import sweep
from steve1.envs.rendering import shared_renderer
from steve1.evaluation.policies import NO_GOAL, PolicySpec, environment_threads, goals_for
from steve1.evaluation.runner.episodes import EpisodeRunner, Job, episode_seed, groups_of_place, starts_for
from steve1.evaluation.runner.log import EpisodeLog
from steve1.evaluation.runner.similarity import GoalSimilarity
from steve1.evaluation.runner.workers import run_jobs
from steve1.evaluation.tasks.suite import Suite, Task

StartsFor = Callable[[str, str, str], Sequence[Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class OpenGame:
    """Opens the environment in whichever process needs it."""

    env: str

    def __call__(self, instance: int) -> Any:
        from steve1.envs import make_env

        return make_env(self.env, instance=instance)


@dataclasses.dataclass(frozen=True)
class Row:
    """What policies are asked for. `task`: the task whose prompt it is ("" if none)."""

    name: str
    prompt: str
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be played.

    Attributes:
        suite: all tasks; every episode is judged by all of the suite's tasks at its place.
        tasks: the selected ones.
        policies: who plays.
        rows: what those who take goals are asked for.
        crossed: every row at every selected task's place (the matrix); otherwise each task's row at its own place.
        episodes: for each policy and row at each place.
        seed: of the start states' order, the environments and the agents.
        goal_seed: the prior's.
        videos: so many first episodes of each are kept as videos.
        similarity: in so many first episodes of each the likeness to the tasks' goals is measured.
        looks: numbers of pairs after which an adaptive evaluation looks; empty: the number of episodes is fixed.
    """

    suite: Suite
    tasks: Sequence[Task]
    policies: Sequence[PolicySpec]
    rows: Sequence[Row]
    folder: Path
    episodes: int = 20
    crossed: bool = False
    seed: int = 0
    goal_seed: int = 0
    deterministic: bool = False
    device: str = "cpu"
    videos: int = 0
    similarity: int = 0
    looks: tuple[int, ...] = ()
    env: str = "luanti"

    def settings(self) -> dict[str, Any]:
        """What makes two runs the same experiment; written beside the log."""
        return {
            "suite": self.suite.path.name,
            "suite_sha256": _sha256(self.suite.path),
            "env": self.env,
            "seed": self.seed,
            "goal_seed": self.goal_seed,
            "deterministic": self.deterministic,
            "episodes": self.episodes,
            "videos": self.videos,
            "similarity": self.similarity,
            # Absent unless adaptive: a fixed number may grow, but looks that were not planned would not be accounted for.
            **({"looks": list(self.looks)} if self.looks else {}),
            "contestants": [spec.facts() for spec in self.policies],
            "tasks": [task.name for task in self.tasks],
            "prompts": {row.name: row.prompt for row in self.rows},
        }


def _sha256(path: Path) -> str:
    from steve1.core.files import sha256_file

    return sha256_file(path)


def slug(text: str) -> str:
    """`text` as part of a file name: letters of any script, digits, dots, dashes and @."""
    return re.sub(r"[^\w.@]+", "-", text, flags=re.UNICODE).strip("-.").lower()[:80] or "x"


def task_rows(tasks: Sequence[Task], language: str = "en", prompts: Mapping[str, str] | None = None) -> list[Row]:
    """One row for each task: its prompt in `language`, or the one that `prompts` gives for it.

    Raises:
        UserError: a task has no prompt in that language.
    """
    for task in tasks:
        if language not in task.prompts:
            raise UserError(f'{task.name} has no prompt in "{language}".', expected=", ".join(task.prompts))
    return [Row(task.name, (prompts or {}).get(task.name, task.prompts[language]), task.name) for task in tasks]


def make_jobs(
    plan: Plan, starts_of: StartsFor = starts_for, asked: Mapping[tuple[str, str], int] | None = None
) -> list[Job]:
    """All episodes of a plan; the first episodes of everything come first.

    `asked`: {(policy, row): so many episodes}; these alone, in the order of their mention, in place of the plan's number for all.

    Raises:
        UserError: fewer than one episode, or no start states.
    """
    if plan.episodes < 1:
        raise UserError("There must be at least one episode.", expected="--episodes ≥ 1", got=plan.episodes)
    folders = [slug(spec.name) for spec in plan.policies]
    if len(set(folders)) != len(folders):
        names = ", ".join(spec.name for spec in plan.policies)
        raise UserError("Two policies have the same name on disk.", got=names, todo="copy one under another name")
    labels = _place_labels(plan.suite)
    wanted = {task.name for task in plan.tasks}
    jobs: dict[str, Job] = {}
    order: dict[str, int] = {}
    groups = [
        group for group in groups_of_place(list(plan.suite.tasks.values())) if wanted & {task.name for task in group}
    ]
    starts = {group[0].place: group[0].states(starts_of(plan.env, group[0].biome, group[0].split)) for group in groups}
    for number in range(plan.episodes if asked is None else max(asked.values(), default=0)):
        for group in groups:
            label, states = labels[group[0].place], starts[group[0].place]
            for spec in plan.policies:
                for row, behaviour in _rows_of(plan, spec, group, wanted):
                    if asked is not None and number >= asked.get((spec.name, row.name), 0):
                        continue
                    job = _job(plan, spec, row, behaviour, group, number, label, dict(states[number % len(states)]))
                    jobs.setdefault(job.key, job)
                    order.setdefault(job.key, list(asked).index((spec.name, row.name)) if asked is not None else 0)
    return sorted(jobs.values(), key=lambda job: order[job.key])


def _job(
    plan: Plan,
    spec: PolicySpec,
    row: Row,
    behaviour: str,
    group: Sequence[Task],
    number: int,
    label: str,
    start: dict[str, Any],
) -> Job:
    key = "/".join([slug(spec.name), slug(row.name or "any"), f"{label}-{number:03d}"])
    return Job(
        key=key,
        policy=spec.name,
        row=row.name,
        prompt=row.prompt,
        behaviour=behaviour,
        tasks=tuple(task.name for task in group),
        number=number,
        seed=episode_seed(label, number, plan.seed),
        start=start,
        video=f"videos/{key}.mp4" if number < plan.videos else "",
        similarity=number < plan.similarity,
    )


def _place_labels(suite: Suite) -> dict[tuple[Any, ...], str]:
    labels: dict[tuple[Any, ...], str] = {}
    for group in groups_of_place(list(suite.tasks.values())):
        name, taken = group[0].biome, set(labels.values())
        labels[group[0].place] = name if name not in taken else f"{name}{len(taken) + 1}"
    return labels


def _rows_of(plan: Plan, spec: PolicySpec, group: Sequence[Task], wanted: set[str]) -> list[tuple[Row, str]]:
    """(row, scripted behaviour) for one policy at one place."""
    here = [task for task in group if task.name in wanted]
    if spec.needs_goal:
        names = {task.name for task in here}
        return [(row, "") for row in plan.rows if plan.crossed or not row.task or row.task in names]
    if spec.kind == "player" and spec.behaviour == "own":
        return [(Row(task.name, "", task.name), task.player) for task in here if task.player]
    return [(Row("", ""), spec.behaviour)]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a worker needs to build its runner; plain values and arrays."""

    policies: Mapping[str, PolicySpec]
    tasks: Mapping[str, Task]
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]]
    open_game: Callable[[int], Any]
    folder: Path
    deterministic: bool
    device: str
    judge: GoalSimilarity | None = None
    service: str = ""

    def __call__(self, index: int) -> EpisodeRunner:
        return EpisodeRunner(
            policies=self.policies,
            tasks=self.tasks,
            goals=self.goals,
            open_env=lambda: self.open_game(index),
            folder=self.folder,
            deterministic=self.deterministic,
            device=self.device,
            judge=self.judge,
            service=self.service,
        )


def make_similarity(plan: Plan, goals: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> GoalSimilarity | None:
    """Who measures similarity: the first weights' MineCLIP, against the goals that its prior makes of the tasks' prompts."""
    base = next(
        (spec for spec in plan.policies if spec.kind == "weights" and spec.goal == "prior"),
        None,
    )
    if base is None or not plan.similarity:
        return None
    path = existing_file(
        base.metadata.mineclip, "The MineCLIP weights", "pass --mineclip_weights, or run 0_download_weights.sh"
    )
    mine = goals.get(base.name, {})
    wanted = {row.task: mine[row.prompt] for row in plan.rows if row.task and row.prompt in mine}
    return GoalSimilarity(str(path), base.metadata.mineclip_config, wanted, plan.device)


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
    """How jobs are run, which changes nothing of what they do.

    Attributes:
        workers: processes, each with its own game; 0: everything in this one.
        timeout_s: longest that one episode may take before its worker counts as hanging.
        max_restarts: of workers, over the whole run.
        batched: one process serves the policies of all workers.
        ray: workers are spread over a Ray cluster.
    """

    workers: int = 1
    timeout_s: float = 900.0
    max_restarts: int = 5
    batched: bool = False
    ray: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0 or self.timeout_s <= 0 or self.max_restarts < 0:
            got = f"workers {self.workers}, timeout_s {self.timeout_s:g}, max_restarts {self.max_restarts}"
            raise UserError(
                "Workers need a number and a time.",
                expected="--workers ≥ 0, --timeout_s > 0, --max_restarts ≥ 0",
                got=got,
            )
        if (self.batched or self.ray) and self.workers == 0:
            raise UserError(
                "Without workers there is nothing to serve or to spread.", expected="--workers ≥ 1", got="--workers 0"
            )
        if self.batched and self.ray:
            raise UserError(
                "The process that holds the policies serves one machine.", todo="take --batched or --ray, not both"
            )

    def run(
        self,
        jobs: Sequence[Job],
        recipe: Recipe,
        finished: Callable[[Job, Any], None],
        more: Callable[[], Sequence[Job]],
    ) -> None:
        """Run jobs, and whatever `more` gives when they are done."""
        threads = environment_threads(self.workers)
        limits: dict[str, Any] = {"timeout_s": self.timeout_s, "max_restarts": self.max_restarts, "more": more}
        if self.ray:
            from steve1.evaluation.runner.ray_workers import run_jobs_on_ray

            run_jobs_on_ray(jobs, recipe, finished, workers=self.workers, threads=threads, **limits)
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(shared_renderer(self.workers))  # after Ray, whose machines have processors of their own
            if self.batched:
                from steve1.evaluation.runner.inference import policy_service

                # The games have processors of their own need; the one process of the policies gets what one worker less would get.
                service = policy_service(
                    recipe.policies, device=recipe.device, deterministic=recipe.deterministic, threads=threads
                )
                recipe = dataclasses.replace(recipe, service=stack.enter_context(service))
            run_jobs(jobs, recipe, finished, workers=self.workers, threads=threads, **limits)


Decide = Callable[[Sequence[Mapping[str, Any]]], Mapping[tuple[str, str], int]]


def play_all(
    plan: Plan,
    executor: ExecutorConfig | None = None,
    *,
    decide: Decide | None = None,
    open_game: Callable[[int], Any] | None = None,
    starts_of: StartsFor = starts_for,
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]] | None = None,
    judge: GoalSimilarity | None = None,
    exactly: Sequence[Job] | None = None,
) -> list[dict[str, Any]]:
    """Play what is missing of a plan and return its lines (of this plan alone), in the order of its jobs.

    Args:
        plan: what to play.
        means: processes and their limits.
        decide: after all is played, what else is wanted, by the lines so far; asked again until nothing is.
        open_game, starts_of, goals, judge: replace the game, its start states, the goals of prompts, and who measures similarity.
        exactly: these jobs in place of the plan's.
    """
    executor = executor or ExecutorConfig()
    jobs = {job.key: job for job in (make_jobs(plan, starts_of) if exactly is None else exactly)}
    log = EpisodeLog(plan.folder, plan.settings())
    sweep(plan.folder)

    def missing() -> list[Job]:
        while True:
            found = [job for job in jobs.values() if job.key not in log.lines]
            asked = decide([log.lines[key] for key in jobs]) if decide and not found else {}
            fresh = [job for job in make_jobs(plan, starts_of, asked) if job.key not in jobs] if asked else []
            jobs.update({job.key: job for job in fresh})
            if found or not fresh:
                return found

    _play(plan, executor, missing, log, jobs, open_game, goals, judge)
    return [log.lines[key] for key in jobs]


def _play(
    plan: Plan, executor: ExecutorConfig, missing: Callable[[], list[Job]], log: EpisodeLog, jobs: Mapping[str, Job],
    open_game: Callable[[int], Any] | None, goals: Mapping[str, Mapping[str, NDArray[np.float32]]] | None, judge: GoalSimilarity | None,
) -> None:  # fmt: skip
    first = missing()
    if not first:
        return
    if goals is None:
        prompts = sorted({row.prompt for row in plan.rows if row.prompt and row.prompt != NO_GOAL})
        goals = goals_for(plan.policies, prompts, seed=plan.goal_seed, translations=plan.suite.translations)
        judge = judge or make_similarity(plan, goals)
    recipe = Recipe(
        policies={spec.name: spec for spec in plan.policies},
        tasks=plan.suite.tasks,
        goals=goals,
        open_game=open_game or OpenGame(plan.env),
        folder=plan.folder,
        deterministic=plan.deterministic,
        device=plan.device,
        judge=judge,
    )
    with progress(total=len(jobs), initial=len(jobs) - len(first), desc="episodes", unit="ep") as bar:

        def finished(job: Job, line: dict[str, Any]) -> None:
            log.add(line)
            bar.update(1)

        def more() -> list[Job]:
            found = missing()
            bar.total = len(jobs)
            return found

        try:
            executor.run(first, recipe, finished, more)
        finally:
            sweep(plan.folder)
