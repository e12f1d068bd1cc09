"""MineDojo's programmatic tasks, ids and prompts, read from the package's own list; nothing of it is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from steve1.core.errors import UserError, nearest
from steve1.envs.minecraft.packages import find_interpreter, interpreter_path, package_folder

FILE = Path("tasks") / "description_files" / "programmatic_tasks.yaml"
CATEGORIES = ("harvest", "combat", "techtree", "survival")


def programmatic_tasks() -> dict[str, str]:
    """{task id: prompt}, in the package's order (1,572 in the release on PyPI, 1,581 on its main branch).

    Raises:
        UserError: MineDojo is not installed, or its list is missing or cannot be read.
    """
    find_interpreter("minedojo")
    path = (package_folder("minedojo") or interpreter_path("minedojo").parent.parent) / FILE
    if not path.is_file():
        raise UserError(
            "This MineDojo does not list its tasks.",
            where=path,
            expected="the package's programmatic_tasks.yaml",
            todo="bash tools/install_minecraft.sh minedojo",
        )
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the file has 1.2 MB: seconds in pure Python
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        return {str(task): str(facts["prompt"]) for task, facts in content.items()}
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as fault:
        raise UserError("MineDojo's list of tasks cannot be read.", where=path, got=str(fault)[:200]) from None


def find_tasks(names: list[str]) -> dict[str, str]:
    """{id: prompt} of the tasks that are named; a name ending in * takes every task that begins so, a category all of it.

    Raises:
        UserError: no task has such an id (names the nearest).
    """
    known = programmatic_tasks()
    found: dict[str, str] = {}
    for name in names:
        if name.endswith("*"):
            chosen = [task for task in known if task.startswith(name[:-1])]
        elif name in CATEGORIES and name not in known:
            chosen = [task for task in known if task.startswith(name + "_")]
        else:
            chosen = [name] if name in known else []
        if not chosen:
            raise UserError(
                "MineDojo has no programmatic task of this id.", got=name, expected=nearest(name, list(known))
            )
        found.update({task: known[task] for task in chosen})
    return found
