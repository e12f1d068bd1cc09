"""From settings to finished episodes: the part that `evaluate`, `compare` and the prompt matrix share.

In: contestants, tasks, rows (what they are asked for), a number of episodes, a folder. Out: the folder's episode log, complete.
Run again after a kill, it plays what is missing and nothing twice.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.progress import progress

from .contestants import NO_GOAL, Contestant, environment_threads, goals_for
from .episodes import EpisodeLog, EpisodeRunner, Job, episode_seed, groups_of_place, starts_for
from .suite import Suite, Task
from .workers import run_jobs

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
    """What contestants are asked for. `task`: the task whose prompt it is ("" if none)."""

    name: str
    prompt: str
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be played.

    Attributes:
        suite: all tasks; every episode is judged by all of the suite's tasks at its place.
        tasks: the selected ones.
        contestants: who plays.
        rows: what those who take goals are asked for.
        crossed: every row at every selected task's place (the matrix); otherwise each task's row at its own place.
        episodes: for each contestant and row at each place.
        seed: of the start states' order, the environments and the agents.
        goal_seed: the prior's.
        videos: so many first episodes of each are kept as videos.
    """

    suite: Suite
    tasks: Sequence[Task]
    contestants: Sequence[Contestant]
    rows: Sequence[Row]
    folder: Path
    episodes: int = 20
    crossed: bool = False
    seed: int = 0
    goal_seed: int = 0
    deterministic: bool = False
    device: str = "cpu"
    videos: int = 0
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
            "contestants": [contestant.facts() for contestant in self.contestants],
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


def make_jobs(plan: Plan, starts_of: StartsFor = starts_for) -> list[Job]:
    """All episodes of a plan; the first episodes of everything come first.

    Raises:
        UserError: fewer than one episode, or no start states.
    """
    if plan.episodes < 1:
        raise UserError("There must be at least one episode.", expected="--episodes ≥ 1", got=plan.episodes)
    folders = [slug(contestant.name) for contestant in plan.contestants]
    if len(set(folders)) != len(folders):
        names = ", ".join(contestant.name for contestant in plan.contestants)
        raise UserError("Two contestants have the same name on disk.", got=names, todo="copy one under another name")
    labels = _place_labels(plan.suite)
    wanted = {task.name for task in plan.tasks}
    jobs: dict[str, Job] = {}
    groups = [group for group in groups_of_place(list(plan.suite.tasks.values())) if wanted & {task.name for task in group}]
    starts = {group[0].place: list(starts_of(plan.env, group[0].surroundings, group[0].split)) for group in groups}
    for number in range(plan.episodes):
        for group in groups:
            label, states = labels[group[0].place], starts[group[0].place]
            for contestant in plan.contestants:
                for row, behaviour in _rows_of(plan, contestant, group, wanted):
                    key = "/".join([slug(contestant.name), slug(row.name or "any"), f"{label}-{number:03d}"])
                    video = f"videos/{key}.mp4" if number < plan.videos else ""
                    jobs.setdefault(
                        key,
                        Job(
                            key=key,
                            contestant=contestant.name,
                            row=row.name,
                            prompt=row.prompt,
                            behaviour=behaviour,
                            tasks=tuple(task.name for task in group),
                            number=number,
                            seed=episode_seed(label, number, plan.seed),
                            start=dict(states[number % len(states)]),
                            video=video,
                        ),
                    )
    return list(jobs.values())


def _place_labels(suite: Suite) -> dict[tuple[Any, ...], str]:
    labels: dict[tuple[Any, ...], str] = {}
    for group in groups_of_place(list(suite.tasks.values())):
        name, taken = group[0].surroundings, set(labels.values())
        labels[group[0].place] = name if name not in taken else f"{name}{len(taken) + 1}"
    return labels


def _rows_of(plan: Plan, contestant: Contestant, group: Sequence[Task], wanted: set[str]) -> list[tuple[Row, str]]:
    """(row, scripted behaviour) for one contestant at one place."""
    here = [task for task in group if task.name in wanted]
    if contestant.needs_goal:
        names = {task.name for task in here}
        return [(row, "") for row in plan.rows if plan.crossed or not row.task or row.task in names]
    if contestant.kind == "player" and contestant.behaviour == "own":
        return [(Row(task.name, "", task.name), task.player) for task in here if task.player]
    return [(Row("", ""), contestant.behaviour)]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a worker needs to build its runner; plain values and arrays."""

    contestants: Mapping[str, Contestant]
    tasks: Mapping[str, Task]
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]]
    open_game: Callable[[int], Any]
    folder: Path
    deterministic: bool
    device: str

    def __call__(self, index: int) -> EpisodeRunner:
        return EpisodeRunner(
            contestants=self.contestants,
            tasks=self.tasks,
            goals=self.goals,
            open_env=lambda: self.open_game(index),
            folder=self.folder,
            deterministic=self.deterministic,
            device=self.device,
        )


def english_goals(plan: Plan, prompts: Sequence[str]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """{contestant: {prompt: goal}}; MineCLIP reads a task's prompt in another language as the English one."""
    texts = {prompt: plan.suite.english(prompt) for prompt in prompts}
    found = goals_for(plan.contestants, sorted(set(texts.values())), seed=plan.goal_seed)
    return {who: {**goals, **{prompt: goals[text] for prompt, text in texts.items()}} for who, goals in found.items()}


def play_all(
    plan: Plan,
    *,
    workers: int = 1,
    timeout_s: float = 900.0,
    open_game: Callable[[int], Any] | None = None,
    starts_of: StartsFor = starts_for,
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]] | None = None,
) -> list[dict[str, Any]]:
    """Play what is missing of a plan and return its lines (of this plan alone), in the order of its jobs.

    Args:
        plan: what to play.
        workers: processes, each with its own game; 0: everything in this one.
        timeout_s: longest that one episode may take before its worker counts as hanging.
        open_game, starts_of, goals: replace the game, its start states, and the goals of prompts.
    """
    jobs = make_jobs(plan, starts_of)
    log = EpisodeLog(plan.folder, plan.settings())
    missing = [job for job in jobs if job.key not in log.lines]
    if missing:
        prompts = sorted({job.prompt for job in missing if job.prompt and job.prompt != NO_GOAL})
        recipe = Recipe(
            contestants={contestant.name: contestant for contestant in plan.contestants},
            tasks=plan.suite.tasks,
            goals=goals if goals is not None else english_goals(plan, prompts),
            open_game=open_game or OpenGame(plan.env),
            folder=plan.folder,
            deterministic=plan.deterministic,
            device=plan.device,
        )
        with progress(total=len(jobs), initial=len(jobs) - len(missing), desc="episodes", unit="ep") as bar:

            def finished(job: Job, line: dict[str, Any]) -> None:
                log.add(line)
                bar.update(1)

            threads = environment_threads(workers)
            run_jobs(missing, recipe, finished, workers=workers, threads=threads, timeout_s=timeout_s)
    return [log.lines[job.key] for job in jobs]
