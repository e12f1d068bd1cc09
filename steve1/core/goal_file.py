"""A goal on its own: the numbers that a policy is asked for, in a small JSON file.

In: a goal vector and what it was made for. Out: `<name>.goal.json`, which `run_agent.py --goal_file` plays, and the way back.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.paths import display, resolve

GOAL_SUFFIX = ".goal.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class GoalFile:
    """A goal and where it comes from."""

    goal: NDArray[np.float32]
    """(E,)."""
    weights: str = ""
    """The policy that it was tuned for, relative to the project's root where it lies below it."""
    weights_sha256: str = ""
    prompt: str = ""
    """What it was meant to say, where a text stood at the beginning."""
    made_by: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Steps, frames, lists and losses of the training."""


def write_goal(path: str | os.PathLike[str], content: GoalFile) -> None:
    """Write a goal file, whole or not at all; the numbers come back bit for bit."""
    record = {"format": FORMAT, **dataclasses.asdict(content), "goal": [float(value) for value in content.goal]}
    write_json(Path(path), record)


def read_goal(path: str | os.PathLike[str]) -> GoalFile:
    """The opposite of `write_goal`.

    Raises:
        UserError: the file is missing or holds no finite goal.
    """
    found = resolve(path)
    if not found.is_file():
        raise UserError(
            "The goal file does not exist.", where=display(found), todo="train one: bash 3_train_finetune_goal.sh"
        )
    content = read_json(found)
    numbers = content.get("goal") if isinstance(content, dict) else None
    try:
        goal = np.asarray(numbers, dtype=np.float32)
        usable = goal.ndim == 1 and goal.size > 0 and bool(np.isfinite(goal).all())
    except (TypeError, ValueError):
        usable = False
    if not isinstance(content, dict) or not usable:
        raise UserError(
            "This is not a goal file.",
            where=display(found),
            expected='a JSON object whose "goal" is a list of E finite numbers',
            got=str(content)[:200],
        )
    names = {field.name for field in dataclasses.fields(GoalFile)} - {"goal"}
    return GoalFile(goal, **{name: value for name, value in content.items() if name in names})
