"""Hindsight goals: the later frame of an episode that each frame is relabelled with."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.episodes.parts import FIRST_GOAL

GoalSwitch = Literal["exact", "legacy"]


def check_gaps(min_btwn_goals: int, max_btwn_goals: int) -> None:
    """UserError unless 1 <= min_btwn_goals < max_btwn_goals."""
    if not 1 <= min_btwn_goals < max_btwn_goals:
        expected = "1 <= min_btwn_goals < max_btwn_goals (frames)"
        got = f"min_btwn_goals={min_btwn_goals}, max_btwn_goals={max_btwn_goals}"
        todo = "fine-tuning usually takes 15 and 100"
        raise UserError("The range of gaps between goals is empty.", expected=expected, got=got, todo=todo)


def hindsight_goals(
    n_frames: int,
    min_btwn_goals: int,
    max_btwn_goals: int,
    rng: np.random.Generator | np.random.RandomState,
    goal_switch: GoalSwitch = "exact",
) -> NDArray[np.int64]:
    """Goal frame of each frame of an episode, int64 (n_frames,).

    Goals are U[min, max) frames apart; one that would be within min of the end is replaced by the last frame.

    Args:
        n_frames: length of the episode.
        min_btwn_goals, max_btwn_goals: frames.
        rng: numpy Generator or RandomState (the latter repeats the published code's draws).
        goal_switch: "exact": goal g is that of the frames up to and including g. "legacy": of frame g+1 too, as upstream.

    Raises:
        UserError: no frames, an empty range of gaps, or an unknown rule.
    """
    check_gaps(min_btwn_goals, max_btwn_goals)
    if goal_switch not in ("exact", "legacy"):
        raise UserError("Unknown goal_switch.", expected="exact or legacy", got=str(goal_switch))
    if n_frames < 1:
        raise UserError("An episode without frames has no goals.", got=str(n_frames))
    draw = rng.integers if isinstance(rng, np.random.Generator) else rng.randint
    last = n_frames - 1
    goals = [0]
    while goals[-1] < last:
        goal = goals[-1] + int(draw(min_btwn_goals, max_btwn_goals))
        goals.append(last if n_frames - goal < min_btwn_goals else goal)
    distinct = np.asarray(goals[1:] or [last], dtype=np.int64)
    reach = distinct if goal_switch == "exact" else distinct + 1
    return distinct[np.minimum(np.searchsorted(reach, np.arange(n_frames), side="left"), len(distinct) - 1)]


def goals_of_stretches(goal_frame: NDArray[np.int64], imitated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Hindsight goals (N,) where only some frames are imitated, bool (N,): a stretch of these ends as an episode does.

    No frame of a stretch gets a goal after its last frame, where somebody else acts again.
    """
    edges = np.diff(imitated.astype(np.int8), append=0)
    ends = np.flatnonzero(edges == -1)
    if not len(ends):
        return goal_frame
    last = ends[np.minimum(np.searchsorted(ends, np.arange(len(imitated))), len(ends) - 1)]
    return np.where(imitated, np.minimum(goal_frame, np.maximum(last, FIRST_GOAL)), goal_frame)
