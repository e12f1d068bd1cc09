"""What an evaluation's traces show beyond success: goal similarity over time, buttons pressed, camera movements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.evaluation.runner.similarity import load_curves, mean_curve
from steve1.evaluation.statistics.summary import Lines, own_row
from steve1.rollout.trace import Trace


def similarity_curve(folder: Path, lines: Lines, task: str, who: str) -> NDArray[np.float32] | None:
    """Mean cosine with the task's goal at each step, over the episodes of a policy in which it was measured; None without."""
    measured = [load_curves(folder, line["key"]) for line in own_row(lines, task, who) if line.get("similarity")]
    rows = [curves[task] for curves in measured if task in curves]
    return mean_curve(rows) if rows else None


def button_shares(lines: Lines, task: str, who: str) -> dict[str, float]:
    """Share of steps with each button pressed over all episodes of a policy, long ones counting more; {} without episodes."""
    rows = own_row(lines, task, who)
    steps = [line["steps"] for line in rows]
    buttons = [button for button in rows[0]["actions"] if button != "camera"] if rows else []
    return {button: float(np.average([line["actions"][button] for line in rows], weights=steps)) for button in buttons}


def camera_counts(folder: Path, lines: Lines, task: str, who: str, most: int = 20) -> NDArray[np.int64]:
    """Number of steps with each camera movement, (11 pitches, 11 yaws), over the first `most` episodes."""
    counts = np.zeros((11, 11), np.int64)
    for line in own_row(lines, task, who)[:most]:
        if "known" in line:  # played elsewhere: its trace is there
            continue
        _, bins = actions.joint_to_arrays(*Trace.load(folder / "traces" / line["key"]).tokens.T)
        np.add.at(counts, (bins[:, 0], bins[:, 1]), 1)
    return counts
