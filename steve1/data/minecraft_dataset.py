"""Chunks of episodes as training reads them: frames, actions, and a goal for every frame.

The goals are either relabelled in hindsight from later frames (`get_episode_chunk`), or one fixed prompt for all frames
(`get_episode_chunk_fixed_prompt`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.loading.frame_source import PIXELS, FrameSource
from steve1.data.loading.goals import GoalSwitch, goals_of_stretches, hindsight_goals

Chunk = dict[str, Any]


def get_episode_chunk(
    episode: Episode,
    start: int,
    stop: int,
    *,
    min_btwn_goals: int,
    max_btwn_goals: int,
    p_uncond: float,
    rng: np.random.Generator | np.random.RandomState,
    goal_switch: GoalSwitch = "exact",
    source: FrameSource = PIXELS,
    masked: bool = False,
    out: Chunk | None = None,
) -> Chunk:
    """Frames start..stop-1 with hindsight goals chosen over the whole episode.

    `rng` is used as upstream does: first for the goals, then for one number that decides if the chunk is unconditional.

    Args:
        episode: with goal embeddings.
        start, stop: frames; start >= 15 unless min_btwn_goals >= 15.
        min_btwn_goals, max_btwn_goals, rng, goal_switch: see `hindsight_goals`.
        p_uncond: probability that the goal of the whole chunk is zero.
        source: of the frames; its key replaces "frames".
        masked: return "imitated" too.
        out: arrays to fill (keys as returned), new ones otherwise.

    Returns:
        frames u8 (T,128,128,3), goals f32 (T,E), first bool (T,) True at 0, buttons and camera i64 (T,), goal_frame i64 (T,);
        with `masked`, or where `out` has it, imitated bool (T,).
    """
    embeds = episode.goals
    goal_frame = hindsight_goals(len(episode), min_btwn_goals, max_btwn_goals, rng, goal_switch)
    if episode.imitated is not None:
        goal_frame = goals_of_stretches(goal_frame, episode.imitated)
    goal_frame = goal_frame[start:stop]
    found = _chunk(episode, start, stop, embeds.shape[1], source, masked, out)
    if rng.random() < p_uncond:
        found["goal_frame"][:] = -1
        found["goals"][:] = 0.0
        return found
    # A window has few distinct goals: read each row once.
    rows, which = np.unique(goal_frame, return_inverse=True)
    found["goal_frame"][:] = goal_frame
    found["goals"][:] = np.asarray(embeds[rows], dtype=np.float32)[which]
    return found


def get_episode_chunk_fixed_prompt(
    episode: Episode,
    start: int,
    stop: int,
    goal: NDArray[np.floating[Any]],
    *,
    source: FrameSource = PIXELS,
    masked: bool = False,
    out: Chunk | None = None,
) -> Chunk:
    """Frames start..stop-1, all with the same goal.

    Args:
        episode: needs no goal embeddings.
        goal: float (E,), such as the prior's goal for "build a wooden house".
        source, masked, out: see `get_episode_chunk`.

    Returns:
        as `get_episode_chunk`; every goal_frame is -1.
    """
    vector = np.asarray(goal, dtype=np.float32).reshape(-1)
    if not np.isfinite(vector).all():
        got = f"{int((~np.isfinite(vector)).sum())} of {len(vector)} numbers"
        raise UserError("The fixed goal is not finite.", got=got)
    found = _chunk(episode, start, stop, len(vector), source, masked, out)
    found["goal_frame"][:] = -1
    found["goals"][:] = vector
    return found


def _chunk(
    episode: Episode, start: int, stop: int, embed_dim: int, source: FrameSource, masked: bool, out: Chunk | None
) -> Chunk:
    """Everything but the goals."""
    found = empty_chunk(stop - start, embed_dim=embed_dim, source=source, masked=masked) if out is None else out
    source.read(episode, start, stop, found[source.key])
    found["buttons"][:], found["camera"][:] = episode.tokens(start, stop)
    found["first"][:] = False
    found["first"][0] = True
    if "imitated" in found:
        found["imitated"][:] = True if episode.imitated is None else episode.imitated[start:stop]
    return found


def empty_chunk(
    *shape: int,
    embed_dim: int,
    source: FrameSource = PIXELS,
    masked: bool = False,
    frames: NDArray[Any] | None = None,
) -> Chunk:
    """Arrays of a chunk to fill; `shape` is (T,) or (B, T), and `frames` (*shape, *source.shape) is used if given."""
    return {
        **({"imitated": np.empty(shape, np.bool_)} if masked else {}),
        source.key: np.empty((*shape, *source.shape), source.dtype) if frames is None else frames,
        "goals": np.empty((*shape, embed_dim), np.float32),
        "first": np.empty(shape, np.bool_),
        "buttons": np.empty(shape, np.int64),
        "camera": np.empty(shape, np.int64),
        "goal_frame": np.empty(shape, np.int64),
    }
