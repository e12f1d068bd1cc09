"""Copies of episodes and of stretches of them, without encoding native frames again."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, read_json, write_json
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import EpisodeWriter, NativeFormat
from steve1.data.episodes.parts import (
    FIRST_GOAL,
    LABEL_LOGP,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    events_of,
    load_array,
    prompts_of,
)


def cut_goals(goals: NDArray[np.floating[Any]], start: int, stop: int) -> NDArray[np.floating[Any]]:
    """Embeddings (stop-start, E) of a stretch. Each describes the 16 frames that end with its row, so the first 15 are NaN."""
    found = np.array(goals[start:stop])
    found[:FIRST_GOAL] = np.nan
    return found


def cut_episode(source: Path, target: Path, start: int, stop: int, note: dict[str, Any] | None = None) -> None:
    """Write frames start..stop-1 of an episode in any format as a native episode to the new folder `target`.

    The metadata says where the stretch was cut from; `note` is added to it.

    Raises:
        UserError: the stretch lies outside the episode, or a part of the episode is broken.
    """
    episode = Episode(source)
    if not 0 <= start < stop <= len(episode):
        expected = f"0 <= start < stop <= {len(episode)}"
        what = "This stretch is not in the episode."
        raise UserError(what, where=source, expected=expected, got=f"{start}..{stop}")
    metadata = cut_metadata(episode.metadata, source.name, start, stop, len(episode)) | (note or {})
    native = episode.format if isinstance(episode.format, NativeFormat) else None
    actions = episode.actions(start, stop)
    keep_frames = native is None and episode.keeps_mineclip_frames
    with EpisodeWriter(target, metadata, keep_mineclip_frames=keep_frames) as writer:
        if native is not None:
            writer.copy(np.memmap(source / PACK, np.uint8, "r"), native.offsets[start : stop + 1], actions)
            if native.keeps_mineclip_frames:
                whole = stop - start == len(episode)
                writer.copy_video(source / MINECLIP_VIDEO, np.arange(start, stop), whole=whole)
        else:
            for frame, action in zip(itertools.islice(episode.source_frames(), start, stop), actions):
                writer.add(frame, action)
        if episode.has_goals:
            writer.goals = cut_goals(episode.goals, start, stop)
        if (source / LABEL_LOGP).exists():
            writer.label_logp = load_array(source / LABEL_LOGP)[start:stop]
        writer.imitated = None if episode.imitated is None else episode.imitated[start:stop]


def cut_metadata(metadata: dict[str, Any], name: str, start: int, stop: int, length: int) -> dict[str, Any]:
    """The metadata of a stretch: that of its episode, and under "cut" its place in what was converted."""
    if (start, stop) == (0, length):
        return dict(metadata)
    known = metadata.get("cut")
    earlier: dict[str, Any] = known if isinstance(known, dict) else {}
    before = int(earlier.get("start", 0))
    cut = {"episode": earlier.get("episode", name), "start": before + start, "stop": before + stop}
    found = {**metadata, "cut": {**cut, "frames": earlier.get("frames", length)}}
    if "events" in metadata:
        found["events"] = [[at - start, event] for at, event in events_of(metadata) if start <= at < stop]
    if prompts := prompts_of(metadata):
        begun = {max(0, at - start): prompt for at, prompt in prompts if at < stop}  # the last before the cut holds on
        found["lerobot"] = metadata["lerobot"] | {"prompts": [list(each) for each in begun.items()]}
    return found


def copy_episode(source: Path, target: Path, note: dict[str, Any] | None = None) -> None:
    """Copy a whole episode in its own format, completely or not at all; `note` goes into its metadata."""
    with atomic_dir(target) as folder:
        _copy_files(source, folder)
        if note:
            known = read_json(folder / METADATA) if (folder / METADATA).exists() else {}
            write_json(folder / METADATA, {**known, **note})


def _copy_files(source: Path, folder: Path) -> None:
    """Copy what is in a folder. Folders do not get their source's permissions: the copy of a read-only one could not be finished, nor removed."""
    for item in source.iterdir():
        if item.is_dir():
            (folder / item.name).mkdir()
            _copy_files(item, folder / item.name)
        else:
            shutil.copy2(item, folder / item.name)
