"""Success rates with error bars: `bash 5_evaluate.sh --weights A.weights B.weights --tasks dig_dirt explore --target dig_dirt`.

In: weights (the first is what the others are compared with), tasks, a number of episodes. Out: a folder with the log, traces, and a report as
Markdown, JSON, CSV and HTML. The same command again continues where it was.
"""

from __future__ import annotations

import dataclasses
import time

from steve1.core.paths import display
from steve1.evaluation.settings import EvaluationSettings, JudgeSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(JudgeSettings):
    """Evaluate weights on tasks."""

    weights: tuple[str, ...]
    """Weights files, with @<cond_scale> if wanted (a.weights@1.5); also random, nothing, player:own (the scripted players). The first weights file is the base."""


def settings_of(args: Args) -> EvaluationSettings:
    """The evaluation's settings, with the game found."""
    from steve1.commands.play.play import playable
    from steve1.evaluation.policies import choose_env, parse_policies

    policies = parse_policies(args.weights, model=args.in_model)
    env = playable(choose_env(policies, args.env))
    return EvaluationSettings(weights=args.weights, **{**args.values(), "env": env})


def main(args: Args) -> None:
    """Evaluate, print the tables."""
    from steve1.evaluation import evaluate
    from steve1.evaluation.report.tables import (
        attribution_table,
        comparisons_table,
        looks_sentence,
        rates_table,
        target_sentence,
    )
    from steve1.reporting.page import markdown

    began = time.perf_counter()
    report = evaluate(settings_of(args))
    summary = report.summary
    differences = (looks_sentence(summary), target_sentence(summary), comparisons_table(summary))
    for block in (rates_table(summary, report.tasks), *differences, attribution_table(summary["attribution"])):
        if block:
            print("\n" + markdown(block))
    steps = sum(line["steps"] for line in report.lines)
    print(f"\n{len(report.lines)} episodes, {steps} steps; this call took {time.perf_counter() - began:.0f} s")
    print("report: " + ", ".join(display(path) for path in report.paths.values()))
