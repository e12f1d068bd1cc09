"""What an evaluation plays: settings become a plan, and a plan becomes jobs, one for each episode.

Everything is checked before anything is loaded. Seeds and start states depend on the start and the episode's number alone, so that all
policies and prompts are paired.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import new_skills
from steve1.core.errors import UserError
from steve1.core.paths import output_path, slug
from steve1.core.seeds import integer
from steve1.envs import start_states
from steve1.envs.registry import GAMES
from steve1.evaluation.policies import PolicySpec, choose_env, parse_policies
from steve1.evaluation.settings import EvaluationSettings, PlaySettings
from steve1.evaluation.statistics.attribution import variants
from steve1.evaluation.statistics.tests import looks
from steve1.evaluation.tasks.suite import Suite, Task, load_suite

AGAIN = "-again"
"""At the end of the key of a failure that is played again to be filmed: no episode of the evaluation."""
StartsFor = Callable[[str, str, str], Sequence[Mapping[str, Any]]]
"""(environment, biome, split) → start states."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A prompt to play. `task`: the task whose prompt it is ("" if none)."""

    name: str
    prompt: str
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be played.

    Attributes:
        suite: all tasks; every episode is judged by all of the suite's tasks that begin alike.
        tasks: the selected ones.
        policies: who plays.
        rows: the prompts of policies that take goals.
        folder: the run's.
        env: the game.
        crossed: play every row at every selected task's start (the prompt matrix), not only each task's row at its own.
        looks: numbers of pairs after which a sequential evaluation looks; empty: the number of episodes is fixed.
        targets: names of the tasks that the weights were to learn.
        targets_found: whether the metadata of the weights says so, not the settings.
    """

    settings: EvaluationSettings
    suite: Suite
    tasks: Sequence[Task]
    policies: Sequence[PolicySpec]
    rows: Sequence[Row]
    folder: Path
    env: str
    crossed: bool = False
    looks: tuple[int, ...] = ()
    targets: Sequence[str] = ()
    targets_found: bool = False

    @property
    def base(self) -> PolicySpec:
        """The policy that the others are compared with: the first weights, else the first."""
        return next((spec for spec in self.policies if spec.needs_goal), self.policies[0])

    @property
    def roles(self) -> dict[str, str]:
        """{name: "base" or "fine-tuned"} where one weights file is compared with another; of several others, the base alone has one."""
        others = [spec for spec in self.policies if spec.needs_goal and not spec.is_variant and spec != self.base]
        if not self.base.needs_goal or not others:
            return {}
        tuned = {others[0].name: "fine-tuned"} if len(others) == 1 and others[0].weights != self.base.weights else {}
        return {self.base.name: "base", **tuned}

    @property
    def task_names(self) -> list[str]:
        """Names of the selected tasks."""
        return [task.name for task in self.tasks]

    def facts(self) -> dict[str, Any]:
        """What makes two runs the same experiment; written beside the log as settings.json."""
        return {
            "suite": self.suite.path.name,
            "suite_sha256": self.suite.digest,
            "env": self.env,
            "seed": self.settings.seed,
            "goal_seed": 0,
            "deterministic": self.settings.deterministic,
            "episodes": self.settings.episodes,
            "videos": self.settings.videos,
            "similarity": self.settings.similarity,
            # Absent unless sequential: a fixed number may grow, but looks that were not planned would not be accounted for.
            **({"looks": list(self.looks)} if self.looks else {}),
            "contestants": [spec.facts() for spec in self.policies],
            "tasks": self.task_names,
            "prompts": {row.name: row.prompt for row in self.rows},
        }


@dataclasses.dataclass(frozen=True)
class Job:
    """One episode to play.

    Attributes:
        key: unique in its run; finished keys are not played again.
        policy: the policy's name.
        row: the name of its prompt: a task's, or NO_GOAL, or "" for policies without a goal.
        prompt: the goal's name in the table of goals ("" without one).
        behaviour: the scripted player for `player:own`.
        tasks: the tasks that judge it.
        number: the episode's number, from 0.
        seed: of the environment and the agent.
        video: where to film it, relative to the run's folder ("": not at all).
        similarity: whether to measure how similar it looks to the tasks' goals.
    """

    key: str
    policy: str
    row: str
    prompt: str
    behaviour: str
    tasks: tuple[str, ...]
    number: int
    seed: int
    start: dict[str, Any] | None
    video: str = ""
    similarity: bool = False


def find_policies(settings: PlaySettings, weights: Sequence[str]) -> tuple[list[PolicySpec], str]:
    """(the policies of these weights files and players, the game that they play)."""
    policies = parse_policies(weights, **settings.metadata_overrides())
    return policies, choose_env(policies, settings.env)


def make_plan(settings: EvaluationSettings, kind: str = "evaluations") -> Plan:
    """Check everything that can be checked before anything is loaded.

    Args:
        settings: what to evaluate.
        kind: the folder in data/ where such runs lie.

    Raises:
        UserError: missing files, unknown tasks, tasks of another game, no episodes.
    """
    policies, env = find_policies(settings, settings.weights)
    settings = dataclasses.replace(settings, timeout_s=max(settings.timeout_s, GAMES[env].episode_s))
    suite = load_suite(settings.suite or env)
    if suite.env != env:
        todo = f"pass --env {suite.env}, or another --suite"
        raise UserError("These tasks belong to another game.", where=suite.path, expected=env, got=suite.env, todo=todo)
    if settings.steps:
        suite = suite.with_steps(settings.steps)
    tasks = suite.select(settings.tasks)
    for task in tasks:
        if settings.language not in task.prompts:
            expected = ", ".join(task.prompts)
            raise UserError(f'{task.name} has no prompt in "{settings.language}".', expected=expected)
    prompts = {suite.find(task).name: prompt for task, prompt in settings.prompts.items()}
    _ = settings.executor  # raises where the workers' settings contradict one another
    sequential = settings.stopping == "sequential"
    if sequential and settings.episodes >= 1 and sum(spec.needs_goal for spec in policies) < 2:
        raise UserError(
            "--stopping sequential is a comparison, and that needs two weights files.", got=", ".join(settings.weights)
        )
    name = settings.name or "-vs-".join(spec.name for spec in policies)
    targets = [task.name for task in suite.select(settings.target)] if settings.target else learned(policies, suite)
    return Plan(
        settings=settings,
        suite=suite,
        tasks=tasks,
        policies=variants(policies) if settings.attribution else policies,
        rows=[Row(task.name, prompts.get(task.name, task.prompts[settings.language]), task.name) for task in tasks],
        folder=output_path(settings.folder or f"data/{kind}/{slug(name)}"),
        env=env,
        looks=looks(settings.episodes, settings.max_episodes) if sequential else (),
        targets=targets,
        targets_found=not settings.target,
    )


def learned(policies: Sequence[PolicySpec], suite: Suite) -> list[str]:
    """The suite's tasks that the policies after the first were to learn, as the metadata of their weights says; [] where it does not."""
    weights = [spec.metadata for spec in policies if spec.needs_goal]
    skills = {skill for metadata in weights[1:] for skill in new_skills(metadata, weights[0])}
    return [task.name for task in suite.called(skills)]


def make_jobs(
    plan: Plan, starts_of: StartsFor = start_states, episodes: Mapping[tuple[str, str], int] | None = None
) -> list[Job]:
    """All episodes of a plan; the first episodes of everything come first.

    Args:
        episodes: {(policy, row): number of episodes}; these alone, in this order, in place of the plan's number for all.
    """
    settings = plan.settings
    if settings.episodes < 1:
        raise UserError("There must be at least one episode.", expected="--episodes ≥ 1", got=settings.episodes)
    if len({slug(spec.name) for spec in plan.policies}) != len(plan.policies):
        names = ", ".join(spec.name for spec in plan.policies)
        raise UserError("Two policies have the same name on disk.", got=names, todo="copy one under another name")
    order = list(episodes or {})
    jobs: dict[str, tuple[tuple[int, int], Job]] = {}
    for label, group in _groups_by_start(plan.suite).items():
        selected = [task for task in group if task.name in plan.task_names]
        if not selected:
            continue
        states = group[0].states(starts_of(plan.env, group[0].biome, group[0].split))
        for spec in plan.policies:
            for row, behaviour in _rows_of(plan, spec, selected):
                pair = (spec.name, row.name)
                for number in range(settings.episodes if episodes is None else episodes.get(pair, 0)):
                    key = "/".join([slug(spec.name), slug(row.name or "any"), f"{label}-{number:03d}"])
                    job = Job(
                        key=key,
                        policy=spec.name,
                        row=row.name,
                        prompt=row.prompt,
                        behaviour=behaviour,
                        tasks=tuple(task.name for task in group),
                        number=number,
                        seed=integer(settings.seed, "episode", label, number),
                        start=dict(states[number % len(states)]),
                        video=f"videos/{key}.mp4" if number < settings.videos else "",
                        similarity=number < settings.similarity,
                    )
                    if key in jobs:
                        got, todo = f"{jobs[key][1].row}, {row.name}", "give one of them another name"
                        raise UserError(
                            "Two tasks have the same name on disk.", where=plan.suite.path, got=got, todo=todo
                        )
                    jobs[key] = (order.index(pair) if order else 0, number), job
    return [job for _, job in sorted(jobs.values(), key=lambda ranked: ranked[0])]


def _groups_by_start(suite: Suite) -> dict[str, list[Task]]:
    """{label: tasks that begin alike, which can be judged on the same episodes}, in order of first appearance."""
    groups: dict[Hashable, list[Task]] = {}
    for task in suite.tasks.values():
        groups.setdefault(task.beginning, []).append(task)
    labelled: dict[str, list[Task]] = {}
    for group in groups.values():
        biome = group[0].biome
        labelled[biome if biome not in labelled else f"{biome}{len(labelled) + 1}"] = group
    return labelled


def _rows_of(plan: Plan, spec: PolicySpec, tasks: Sequence[Task]) -> list[tuple[Row, str]]:
    """(row, scripted behaviour) of one policy for selected tasks that begin alike."""
    if spec.needs_goal:
        names = {task.name for task in tasks}
        return [(row, "") for row in plan.rows if plan.crossed or not row.task or row.task in names]
    if spec.kind == "player" and spec.behaviour == "own":
        return [(Row(task.name, "", task.name), task.player) for task in tasks if task.player]
    return [(Row("", ""), spec.behaviour)]
