"""What the evaluating commands print when they are done: the answer, counts, verdicts, where the report and the video lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steve1.core.messages import message
from steve1.core.paths import display
from steve1.evaluation.report.sentences import Summary, first_lines, needs, notes, task_label, verdicts
from steve1.evaluation.report.tables import attribution_table, rates_table
from steve1.evaluation.tasks.suite import Task


def show(summary: Summary, tasks: Sequence[Task], page: Path, film: Path | None, results: Sequence[Path] = ()) -> None:
    """Print the result of an evaluation, the answer first and the verdicts last, and where its page, its first side-by-side video and the pages of the runs lie."""
    if answers := first_lines(summary, tasks):
        print("\n" + "\n".join(answers))
    print("\n" + rates_table(summary, tasks).markdown())
    if attributed := attribution_table(summary["attribution"]):
        print("\n" + attributed.markdown())
    if len(tasks) == 1:
        print(f"\n{task_label(tasks[0])}: {needs(tasks[0])}")
    for lines in (list(notes(summary)), verdicts(summary, tasks)):
        if lines:
            print("\n" + "\n".join(lines))
    print("\n" + message("report", path=display(page)))
    if film:
        print(message("video", path=display(film)))
    for each in results:
        print(message("training results", path=display(each)))
