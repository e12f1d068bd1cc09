"""Two or more policies on one prompt: a film and a verdict.

Input: settings with one task, the prompt, where the film goes.
Output: the evaluation's report, and the film's path.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from steve1.core.files import atomic_path
from steve1.evaluation.pipeline import Report, evaluate
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.settings import EvaluationSettings


def compare(
    settings: EvaluationSettings, prompt: str, video: Path | None = None, inputs: EpisodeInputs | None = None
) -> tuple[Report, Path | None]:
    """Evaluate on the settings' one task under `prompt`: did it improve? The first episode's film is copied to `video` if given."""
    task = settings.tasks[0]
    report = evaluate(dataclasses.replace(settings, prompts={task: prompt}, target=(task,)), inputs)
    if not video or not report.film:
        return report, report.film
    with atomic_path(video) as part:
        shutil.copyfile(report.film, part)
    return report, video
