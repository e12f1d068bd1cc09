"""Tasks by their names in other benchmarks: `python evaluate_on_minedojo.py --weights … --task "BuildVillageHouse"`.

Input: weights and tasks' names, MineDojo's, MineRL's or ours.
Output: success rates with their intervals on the tasks of ours that the names map to. The names are aliases in the suite's file.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.options import Option
from steve1.evaluation.settings import EvaluationSettings, PlaySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PlaySettings):
    """Evaluate weights on tasks by name."""

    weights: tuple[str, ...]
    """One or more weights files; the first is the base. Also: random, noop, scripted."""
    task: Annotated[tuple[str, ...], Option(aliases=("--tasks",))]
    """What the weights were to learn: one or more names of tasks, e.g. BuildVillageHouse or dig_dirt; unknown names list the nearest. With --env minedojo its ids: harvest_milk, "combat_zombie*"."""
    steps: int = 0
    """With --env minedojo: maximum steps per episode, 20 per second (default: 3000). Other tasks have their own limit."""


def main(args: Args) -> None:
    """Find the tasks, evaluate, print the rates."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.commands.evaluate.run_pages import refresh_pages
    from steve1.evaluation.pipeline import evaluate
    from steve1.evaluation.report.console import show
    from steve1.evaluation.runner.plan import find_policies
    from steve1.evaluation.tasks.minedojo import STEPS, minedojo_settings
    from steve1.evaluation.tasks.suite import load_suite

    policies, env = find_policies(args, args.weights)
    names, settings = args.task, EvaluationSettings.of(args, env=env)
    if env == "minedojo" and not args.suite:
        settings = minedojo_settings(settings, args.task, args.steps or STEPS)
        names = ("all",)
    elif args.steps:
        where = args.suite or f"the tasks of {env}"
        todo = "leave out --steps; a file of your own (--suite) can set another length"
        raise UserError(
            "--steps is for MineDojo's tasks alone: these say themselves how long they last.", where=where, todo=todo
        )
    suite = load_suite(settings.suite or env)
    tasks = suite.select(names)
    for name in names:
        task = next((task for task in tasks if task.is_called(name)), None)
        if task and task.name != name:
            print(
                translated(
                    f'"{name}" maps to the task {task.name} ("{task.prompts["en"]}") in {env}, which is not the same task. {task.note}'.rstrip()
                )
            )
    chosen = tuple(task.name for task in tasks)
    what = "-".join(chosen) if len(chosen) < 4 else f"{len(chosen)}-tasks"
    name = args.name or "-vs-".join(spec.name for spec in policies) + "-" + what
    report = evaluate(dataclasses.replace(settings, name=name, tasks=chosen, target=chosen))
    show(report.summary, report.tasks, report.paths["html"], report.film, refresh_pages(args.weights))
