"""Two or more policies on one prompt: a film and a short table.

Input: settings with one task, the prompt, where the film goes.
Output: the evaluation's report, and the film's path.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from steve1.core.files import atomic_path
from steve1.evaluation.pipeline import Report, evaluate
from steve1.evaluation.report.tables import verdict_text
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.tasks.suite import Task
from steve1.reporting.numbers import p_value, percent, percent_range, points_range
from steve1.reporting.tables import Table


def compare(
    settings: EvaluationSettings, prompt: str, video: Path | None = None, inputs: EpisodeInputs | None = None
) -> tuple[Report, Path | None]:
    """Evaluate on the settings' one task under `prompt`: did it improve? The first episode's film is copied to `video` if given."""
    task = settings.tasks[0]
    report = evaluate(dataclasses.replace(settings, prompts={task: prompt}, target=(task,)), inputs)
    name = next(iter(report.films.values()), None)
    if name is None:
        return report, None
    film = report.folder / name
    if not video:
        return report, film
    with atomic_path(video) as part:
        shutil.copyfile(film, part)
    return report, video


def comparison_table(report: Report, task: Task) -> str:
    """Episodes, successes and mean measure of each; the difference from the first, and the verdict on it."""
    rows = []
    for who, cell in report.summary["rates"][task.name].items():
        if cell:
            rate = f"{percent(cell['rate'], 0)} ({percent_range(cell['low'], cell['high'])})"
            rows.append([who, str(cell["episodes"]), str(cell["successes"]), rate, f"{cell['mean_measure']:.2f}"])
    head = ["weights", "episodes", "successes", "rate (95 %)", f"mean {task.measure_name}"]
    table = Table(head, rows).markdown()
    for who, tasks in report.summary["comparisons"].items():
        row = tasks.get(task.name)
        if row:
            table += (
                f"\n\n{who} against {report.summary['base']}: {100 * row['difference']:+.0f} points "
                f"(95 % interval {points_range(*row['interval'])}, exact paired p {p_value(row['p_mcnemar'])}, {row['pairs']} pairs)"
            )
            table += "" if row["verdict"] == "–" else f": {verdict_text(row)}"
    return table
