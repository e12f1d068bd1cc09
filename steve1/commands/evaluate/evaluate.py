"""Success rates with error bars: `bash 5_evaluate.sh --weights A.weights B.weights --tasks dig_dirt explore --target dig_dirt`.

Input: weights (the first is what the others are compared with), tasks, a number of episodes.
Output: a folder with the log, traces, and a report as Markdown, JSON, CSV and HTML. The same command again continues where it was.
"""

from __future__ import annotations

import time

from steve1.core.paths import display
from steve1.evaluation.settings import EvaluationSettings

Args = EvaluationSettings


def main(args: Args) -> None:
    """Evaluate, print the tables."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.evaluation.pipeline import evaluate
    from steve1.evaluation.report.tables import (
        attribution_table,
        comparisons_table,
        looks_sentence,
        rates_table,
        target_sentence,
    )
    from steve1.reporting.page import markdown

    began = time.perf_counter()
    report = evaluate(args)
    summary = report.summary
    differences = (looks_sentence(summary), target_sentence(summary), comparisons_table(summary))
    for block in (rates_table(summary, report.tasks), *differences, attribution_table(summary["attribution"])):
        if block:
            print("\n" + markdown(block))
    steps = sum(line["steps"] for line in report.lines)
    print(f"\n{len(report.lines)} episodes, {steps} steps; this call took {time.perf_counter() - began:.0f} s")
    print("report: " + ", ".join(display(path) for path in report.paths.values()))
