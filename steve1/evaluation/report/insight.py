"""What an evaluation's traces say beyond success: similarity curves and action histograms.

In: a plan's folder and its lines. Out: for each task and policy a mean curve, shares of buttons, and camera movements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.evaluation.runner.similarity import load_curves, mean_curve
from steve1.evaluation.statistics.summary import own_row
from steve1.rollout.trace import Trace

Lines = Sequence[Mapping[str, Any]]


def similarity_curves(
    folder: Path, lines: Lines, tasks: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """{task: {policy: mean cosine with the task's goal at each step}} over the episodes in which it was measured."""
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for task in tasks:
        for who in names:
            measured = [
                load_curves(folder, line["key"]) for line in own_row(lines, task, who) if line.get("similarity")
            ]
            rows = [curve[task] for curve in measured if task in curve]
            if rows:
                found.setdefault(task, {})[who] = mean_curve(rows)
    return found


def button_shares(lines: Lines, tasks: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """{task: {policy: {button: share of steps}}} over all episodes, long ones counting more."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task in tasks:
        for who in names:
            rows = own_row(lines, task, who)
            if rows:
                steps = np.array([line["steps"] for line in rows], dtype=np.float64)
                buttons = [button for button in rows[0]["actions"] if button != "camera"]
                shares = {
                    button: float(np.average([line["actions"][button] for line in rows], weights=steps))
                    for button in buttons
                }
                found.setdefault(task, {})[who] = shares
    return found


def camera_counts(folder: Path, lines: Lines, task: str, who: str, most: int = 20) -> NDArray[np.int64]:
    """Number of steps with each camera movement, (11 pitches, 11 yaws), over the first `most` episodes."""
    counts = np.zeros((11, 11), np.int64)
    for line in own_row(lines, task, who)[:most]:
        _, bins = actions.joint_to_arrays(*Trace.load(folder / "traces" / line["key"]).tokens.T)
        np.add.at(counts, (bins[:, 0], bins[:, 1]), 1)
    return counts
