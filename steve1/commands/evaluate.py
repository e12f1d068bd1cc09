"""Success rates with error bars: `bash 5_evaluate.sh --weights A.weights B.weights --tasks dig_dirt explore`.

In: weights (the first is what the others are compared with), tasks, a number of episodes. Out: a folder with the log, traces, and a report as
Markdown, JSON, CSV and HTML. The same command again continues where it was.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from steve1.core.cli import run
from steve1.core.paths import display

if TYPE_CHECKING:
    from steve1.evaluation import EvaluationSettings


@dataclasses.dataclass(frozen=True)
class Args:
    """Evaluate weights on tasks."""

    weights: tuple[str, ...]
    """Weights files, with @<cond_scale> if wanted (a.weights@1.5); also random, nothing, player:own (the scripted players). The first weights file is the base."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks by name, or all."""
    episodes: int = 20
    """Episodes for each weights file and task, on the same seeds and start states for all."""
    name: str = ""
    """Of the run's folder under data/evaluations; default: made from the weights."""
    folder: str = ""
    """The run's folder itself, in place of --name."""
    workers: int = 1
    """Processes, each with its own game; 0 plays in this process."""
    videos: int = 0
    """Film so many first episodes of each and put them side by side."""
    seed: int = 0
    """Of start states, games and agents."""
    language: str = "en"
    """Of the prompts in the tasks' file."""
    suite: str = ""
    """A suite's name or YAML file; default: the environment's own."""
    env: str = ""
    """The game; default: the one that the weights were made for."""
    cond_scale: float | None = None
    """Guidance for all; default: each family's."""
    deterministic: bool = False
    """Take the most probable action instead of drawing one."""
    in_model: str = ""
    """The .model file for all; default: each family's."""
    mineclip_weights: str = ""
    """MineCLIP weights for all; default: each family's."""
    prior_weights: str = ""
    """The prior's weights for all; default: each family's."""
    device: str = "auto"
    """Where the policies run."""
    timeout_s: float = 900.0
    """Longest that one episode may take before its worker is replaced."""


def settings_of(args: Args) -> EvaluationSettings:
    """The evaluation's settings, with the game checked."""
    from steve1.evaluation import EvaluationSettings
    from steve1.evaluation.contestants import guess_family_env, parse_contestants

    from .play import playable

    contestants = parse_contestants(args.weights, model=args.in_model)
    env = playable(guess_family_env(contestants, args.env))
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    return EvaluationSettings(contestants=values.pop("weights"), **{**values, "env": env})


def main(args: Args) -> None:
    """Evaluate, print the tables."""
    from steve1.evaluation import evaluate
    from steve1.evaluation.report import comparisons_table, rates_table

    began = time.perf_counter()
    report = evaluate(settings_of(args))
    print("\n" + rates_table(report.summary, report.tasks))
    differences = comparisons_table(report.summary)
    if differences:
        print("\n" + differences)
    steps = sum(line["steps"] for line in report.lines)
    print(f"\n{len(report.lines)} episodes, {steps} steps; this call took {time.perf_counter() - began:.0f} s")
    print("report: " + ", ".join(display(path) for path in report.paths.values()))


def cli() -> None:
    """The command line."""
    run(Args, main, "Success rates with error bars, on the same seeds for all weights.")


if __name__ == "__main__":
    cli()
