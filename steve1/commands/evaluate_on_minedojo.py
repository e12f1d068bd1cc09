"""One task by its name in another benchmark: `python evaluate_on_minedojo.py --weights … --task "BuildVillageHouse"`.

In: weights and a task's name, MineDojo's or ours. Out: the success rate with its interval on the task of ours that the name maps to.
"""

from __future__ import annotations

import dataclasses

from steve1.core.cli import run
from steve1.core.paths import display


@dataclasses.dataclass(frozen=True)
class Args:
    """Evaluate weights on one task by name."""

    weights: tuple[str, ...]
    """One or more weights files; with several, the first is the base."""
    task: str
    """A task's name, e.g. BuildVillageHouse or dig_dirt."""
    episodes: int = 20
    """Episodes for each weights file."""
    workers: int = 1
    """Processes, each with its own game."""
    videos: int = 0
    """Film so many first episodes."""
    seed: int = 0
    """Of start states, games and agents."""
    env: str = ""
    """The game; default: the one that the weights were made for."""
    name: str = ""
    """Of the run's folder under data/evaluations."""
    cond_scale: float | None = None
    """Guidance; default: the family's."""
    in_model: str = ""
    """The .model file; default: the family's."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: the family's."""
    prior_weights: str = ""
    """The prior's weights; default: the family's."""
    device: str = "auto"
    """Where the policy runs."""


def main(args: Args) -> None:
    """Find the task, evaluate, print the rates."""
    from steve1.evaluation import EvaluationSettings, evaluate, load_suite
    from steve1.evaluation.compare import comparison_table
    from steve1.evaluation.contestants import guess_family_env, parse_contestants

    from .play import playable

    contestants = parse_contestants(args.weights, model=args.in_model)
    env = playable(guess_family_env(contestants, args.env))
    task = load_suite(env).find(args.task)
    if task.name != args.task:
        print(f'"{args.task}" maps to the task {task.name} ("{task.prompts["en"]}") in {env}, which is not the same task. {task.note}'.rstrip())
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args) if field.name not in ("weights", "task", "env")}
    values["name"] = args.name or "-vs-".join(each.name for each in contestants) + "-" + task.name
    report = evaluate(EvaluationSettings(contestants=args.weights, tasks=(task.name,), env=env, **values))
    print("\n" + comparison_table(report, task))
    print(f"report: {display(report.paths['html'])}")


def cli() -> None:
    """The command line."""
    run(Args, main, "Success rate on one task, by its name here or in MineDojo.")


if __name__ == "__main__":
    cli()
