"""Plays what is missing of a plan. Run again after a kill, it plays nothing twice."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steve1.core.executor import run_jobs
from steve1.core.files import existing_file, remove_half_written
from steve1.core.messages import message, progress
from steve1.envs.worker.resources import shared_renderer
from steve1.evaluation.policies import NO_GOAL, Goals, GoalTable, PolicyCache, environment_threads, goals_for
from steve1.evaluation.runner.episodes import EpisodeInputs, EpisodeRunner, OpenGame
from steve1.evaluation.runner.inference import policy_service
from steve1.evaluation.runner.known import known_lines
from steve1.evaluation.runner.log import EpisodeLog
from steve1.evaluation.runner.plan import Job, Plan, make_jobs
from steve1.evaluation.runner.similarity import GoalSimilarity
from steve1.evaluation.statistics.summary import Lines

Line = dict[str, Any]
Decide = Callable[[Lines], Mapping[tuple[str, str], int]]
"""Lines so far → {(policy, row): number of episodes} that are wanted beyond the plan's."""


def play_plan(
    plan: Plan, inputs: EpisodeInputs | None = None, *, decide: Decide | None = None, jobs: Sequence[Job] | None = None
) -> list[Line]:
    """Play what is missing of a plan and return its lines (of this plan alone), in the order of its jobs.

    Args:
        plan: what to play.
        inputs: the game and the goals, where they are not the plan's own.
        decide: asked when everything is played, until it wants nothing more.
        jobs: play these in place of the plan's.
    """
    inputs = inputs or EpisodeInputs()
    wanted = {job.key: job for job in (make_jobs(plan, inputs.starts_of) if jobs is None else jobs)}
    log = EpisodeLog(plan.folder, plan.facts(), {"suite_sha256": plan.suite.earlier_digests()})
    remove_half_written(plan.folder, below=True)

    def missing() -> list[Job]:
        while True:
            found = [job for job in wanted.values() if job.key not in log.lines]
            for line in known_lines(plan, found):
                log.add(line)
            found = [job for job in found if job.key not in log.lines]
            if found or decide is None:
                return found
            episodes = decide([log.lines[key] for key in wanted])
            fresh = {job.key: job for job in make_jobs(plan, inputs.starts_of, episodes) if job.key not in wanted}
            if not fresh:
                return []
            wanted.update(fresh)

    first = missing()
    if first:
        with progress(
            total=len(wanted), initial=len(wanted) - len(first), desc=message("bar episodes"), unit="ep"
        ) as bar:

            def finished(job: Job, line: Line) -> None:
                log.add(line)
                bar.update(1)

            def more() -> list[Job]:
                found = missing()
                bar.total = len(wanted)
                bar.update(len(wanted) - len(found) - bar.n)  # earlier results
                return found

            try:
                _run(plan, complete_inputs(plan, inputs), first, finished, more)
            finally:
                remove_half_written(plan.folder, below=True)
    return [log.lines[key] for key in wanted]


def complete_inputs(plan: Plan, inputs: EpisodeInputs, shown: Goals | None = None) -> EpisodeInputs:
    """`inputs` with the plan's game, goals and similarity where they are missing; `shown`: {prompt: goal} of demonstrations."""
    if inputs.goals is None:
        prompts = sorted({row.prompt for row in plan.rows if row.prompt not in ("", NO_GOAL)})
        goals = goals_for(plan.policies, prompts, shown=shown, translations=plan.suite.translations)
        inputs = dataclasses.replace(inputs, goals=goals, similarity=inputs.similarity or _similarity(plan, goals))
    return dataclasses.replace(inputs, open_game=inputs.open_game or OpenGame(plan.env))


def _similarity(plan: Plan, goals: GoalTable) -> GoalSimilarity | None:
    """Measures similarity with the first weights' MineCLIP to the goals that its prior makes of the tasks' prompts."""
    base = next((spec for spec in plan.policies if spec.needs_goal and spec.goal == "prior"), None)
    if base is None or not plan.settings.similarity:
        return None
    path = existing_file(base.metadata.mineclip, "The MineCLIP weights", "pass --mineclip_weights")
    known = goals.get(base.name, {})
    wanted = {row.task: known[row.prompt] for row in plan.rows if row.task and row.prompt in known}
    return GoalSimilarity(str(path), base.metadata.mineclip_config, wanted, plan.settings.device)


def _run(
    plan: Plan,
    inputs: EpisodeInputs,
    jobs: Sequence[Job],
    finished: Callable[[Job, Line], None],
    more: Callable[[], Sequence[Job]],
) -> None:
    """Run jobs, and what `more` gives when they are done, in processes here or on a Ray cluster."""
    settings = plan.settings
    # The process that holds the policies gets as many threads as a worker's policy: the games need processors as well.
    executor = dataclasses.replace(settings.executor, threads=environment_threads(settings.workers))
    # The machines of a Ray cluster have their own processors.
    renderer = contextlib.nullcontext() if executor.ray else shared_renderer(executor.workers)
    policies: contextlib.AbstractContextManager[str] = contextlib.nullcontext("")
    if executor.batched:
        specs = {spec.name: spec for spec in plan.policies}
        cache = PolicyCache(device=settings.device, deterministic=settings.deterministic)
        policies = policy_service(specs, cache, executor.threads)
    with renderer, policies as service:
        run_jobs(jobs, functools.partial(EpisodeRunner, plan, inputs, service), finished, executor, more=more)
