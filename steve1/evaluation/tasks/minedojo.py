"""MineDojo's programmatic tasks as a suite of ours, judged by MineDojo itself.

Input: task ids.
Output: a suite's YAML file with their prompts and one rule, MineDojo's own success signal.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import yaml

from steve1.core.files import atomic_file
from steve1.core.messages import translated
from steve1.core.paths import display, output_path
from steve1.envs.minecraft.minedojo.backend import SUCCESS
from steve1.envs.minecraft.minedojo.tasks import find_tasks
from steve1.envs.minecraft.packages import java_for
from steve1.evaluation.settings import EvaluationSettings

FOLDER = "data/evaluations/minedojo_suites"
STEPS = 3000
"""150 seconds of play, the length at which MineDojo's tasks are commonly reported."""


def write_minedojo_suite(names: Sequence[str], steps: int = STEPS, folder: Path | None = None) -> Path:
    """The file of the suite of these tasks; the same tasks and steps make the same file.

    Args:
        names: ids; "harvest_milk*" and a category ("combat") stand for all that begin so.

    Raises:
        UserError: MineDojo is not installed, or no task has such an id (names the nearest).
    """
    folder = folder or output_path(FOLDER)
    tasks = find_tasks(list(names))
    signal = {"kind": "crafted", "names": [SUCCESS]}
    content = {
        "env": "minedojo",
        "defaults": {
            "steps": steps,
            "success": {**signal, "at_least": 1},
            "measure": {**signal, "name": "MineDojo's success signal"},
        },
        # A task makes its own world, so it is its own biome.
        "tasks": {name: {"prompts": {"en": prompt}, "biome": name} for name, prompt in tasks.items()},
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    first = next(iter(tasks)) if len(tasks) == 1 else f"{len(tasks)}_tasks"
    path = folder / f"{first}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"
    if not path.exists():
        with atomic_file(path, "w") as handle:
            handle.write(text)
    return path


def minedojo_settings(settings: EvaluationSettings, names: Sequence[str], steps: int) -> EvaluationSettings:
    """`settings` for the suite of MineDojo's tasks of these names, whose file is written.

    Everything that can be missing is found here, before a Minecraft starts.

    Raises:
        UserError: MineDojo or its Java is missing, or no task has such an id.
    """
    path = write_minedojo_suite(names, steps)
    java_for("minedojo")
    print(translated(f"MineDojo's tasks as a suite, for other commands too: --env minedojo --suite {display(path)}"))
    return dataclasses.replace(settings, suite=str(path))
