"""Exports episodes to the formats of other programs.

Read again, frames, actions, tokens and embeddings are the same bit for bit, unless a lossy video is asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, write_json
from steve1.core.paths import quoted
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.registry import FORMATS
from steve1.data.episodes.origin import made_from
from steve1.data.episodes.parts import ACTION_MASK, GOALS_PICKLE, METADATA, plain_actions, write_goals_pickle

#: entries of the metadata that hold for this project's own format only
_NATIVE = ("format", "format_version", "jpeg", "mineclip_frames", "frame_size")


def export_episode(source: Path, target: Path, kind: str, *, lossless: bool = True) -> int:
    """Write an episode in any format to the new folder `target`, completely or not at all; returns its number of frames.

    Args:
        kind: one of `EXPORT_FORMATS`.
        lossless: of STEVE-1's video: exact pixels (H.264 in RGB; 15 KB a frame of the game) instead of yuv420p (2.6 KB).

    Raises:
        UserError: the episode is broken, or `target` exists.
    """
    episode = Episode(source)
    actions = plain_actions(episode.format.actions(), source)
    if len(actions) != len(episode):
        what, todo = (
            "The actions do not fit the frames.",
            f"python tools/validate_dataset.py {quoted(source)} --repair OUT_DIR",
        )
        raise UserError(what, where=source, expected=len(episode), got=len(actions), todo=todo)
    with atomic_dir(target) as folder:
        FORMATS[kind].write(episode.format, actions, folder, lossless=lossless)
        if episode.has_goals:
            write_goals_pickle(episode.goals, folder / GOALS_PICKLE)
        if episode.imitated is not None:
            np.save(folder / ACTION_MASK, episode.imitated)
        kept = {key: value for key, value in episode.metadata.items() if key not in _NATIVE}
        exported = {"layout": kind, "from": source.name, "lossless": kind == "guide" or lossless}
        made = made_from(source, to=kind, lossless=exported["lossless"])
        write_json(folder / METADATA, {**kept, "exported": exported, **made})
    return len(episode)
