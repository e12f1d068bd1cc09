"""Success rates with error bars: `bash 5_evaluate.sh --weights A.weights B.weights --tasks dig_dirt explore --target dig_dirt`.

Input: weights (the first is what the others are compared with), tasks, a number of episodes.
Output: a folder with the log, traces, and a report as Markdown, JSON, CSV and HTML. The same command again continues where it was.
"""

from __future__ import annotations

from steve1.evaluation.settings import EvaluationSettings

Args = EvaluationSettings


def main(args: Args) -> None:
    """Evaluate, print rates and verdicts."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.commands.evaluate.run_pages import refresh_pages
    from steve1.evaluation.pipeline import evaluate
    from steve1.evaluation.report.console import show

    report = evaluate(args)
    show(report.summary, report.tasks, report.paths["html"], report.film, refresh_pages(args.weights))
