"""Cutting: a stretch of an episode as an episode of its own, without encoding its pictures anew.

In: an episode and the first and last frame wanted. Out: a native episode. An embedding describes the 16 frames that end
with its row, so all rows but the first 15 of a stretch stay as true as they were.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, read_json
from steve1.core.frames import MINECLIP_SIZE
from steve1.data.episodes.episode import Episode, EpisodeWriter, plain_action, write_native_parts
from steve1.data.episodes.layouts import ACTIONS, FIRST_GOAL, INDEX, METADATA, MINECLIP_VIDEO, PACK, load_array
from steve1.data.media.video import VideoWriter, read_frames


def cut_goals(goals: NDArray[np.floating[Any]], start: int, stop: int) -> NDArray[np.floating[Any]]:
    """Embeddings (stop-start, E) of a stretch; its first 15 rows are NaN, since they would look before it."""
    found = np.array(goals[start:stop])
    found[:FIRST_GOAL] = np.nan
    return found


def write_stretch(
    target: Path,
    *,
    pack: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    actions: Sequence[act.EnvAction],
    start: int,
    stop: int,
    metadata: dict[str, Any],
    goals: NDArray[np.floating[Any]] | None = None,
    video: Path | None = None,
    copy_video: bool = False,
) -> None:
    """Write frames start..stop-1 as a native episode, whole or not at all.

    Args:
        target: the folder to make; it must not exist.
        pack: the source's packed frames, uint8 bytes.
        offsets: int64 (N+1,), where each frame begins.
        actions: N MineRL actions.
        start, stop: the stretch, 0 <= start < stop <= N.
        metadata: provenance; the format's own fields are set here.
        goals: (N, E) embeddings of the source, None to leave them out.
        video: the source's 256x160 frames, None to leave them out.
        copy_video: take them as they are, since they are exactly those of the stretch.
    """
    chosen = [plain_action(action) for action in actions[start:stop]]
    with atomic_dir(target) as folder:
        with open(folder / PACK, "wb") as handle:
            pack[int(offsets[start]) : int(offsets[stop])].tofile(handle)
            handle.flush()
            os.fsync(handle.fileno())
        lines = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in chosen)
        (folder / ACTIONS).write_text(lines, encoding="utf-8")
        if video is not None:
            _cut_video(video, folder / MINECLIP_VIDEO, start, stop, whole=copy_video)
        write_native_parts(
            folder,
            offsets=offsets[start : stop + 1] - offsets[start],
            actions=chosen,
            metadata=metadata,
            goals=None if goals is None else cut_goals(goals, start, stop),
            mineclip_frames=video is not None,
        )


def _cut_video(source: Path, target: Path, start: int, stop: int, *, whole: bool) -> None:
    if whole:
        shutil.copyfile(source, target)
        return
    height, width = MINECLIP_SIZE
    with VideoWriter(target, width, height, preset="ultrafast") as writer:
        for frame in itertools.islice(read_frames(source), start, stop):
            writer.write(frame)
    if writer.frames != stop - start:
        raise UserError("This video is shorter than its episode.", where=source, expected=f"{stop} frames")


def cut_episode(source: Path, target: Path, start: int, stop: int, note: dict[str, Any] | None = None) -> None:
    """Frames start..stop-1 of an episode in any layout as a native episode of its own.

    Args:
        source: the episode.
        target: the folder to make; it must not exist.
        start, stop: the stretch, 0 <= start < stop <= N.
        note: further entries for the metadata, which also says where the stretch was cut from.

    Raises:
        UserError: the stretch lies outside the episode, or a part of the episode is broken.
    """
    episode = Episode(source)
    if not 0 <= start < stop <= len(episode):
        raise UserError(
            "This stretch is not in the episode.",
            where=source,
            expected=f"0 <= start < stop <= {len(episode)}",
            got=f"{start}..{stop}",
        )
    metadata = cut_metadata(episode.metadata, source.name, start, stop, len(episode)) | (note or {})
    goals = episode.goals if episode.has_goals else None
    if (source / PACK).exists():
        video = source / MINECLIP_VIDEO
        write_stretch(
            target,
            pack=np.memmap(source / PACK, np.uint8, "r"),
            offsets=np.asarray(load_array(source / INDEX)),
            actions=episode.actions(),
            start=start,
            stop=stop,
            metadata=metadata,
            goals=goals,
            video=video if video.exists() else None,
            copy_video=(start, stop) == (0, len(episode)),
        )
        return
    with EpisodeWriter(target, metadata, keep_mineclip_frames=episode.keeps_mineclip_frames) as writer:
        for frame, action in zip(itertools.islice(episode.source_frames(), start, stop), episode.actions(start, stop)):
            writer.add(frame, action)
        if goals is not None:
            writer.goals = cut_goals(goals, start, stop)


def cut_metadata(metadata: dict[str, Any], name: str, start: int, stop: int, length: int) -> dict[str, Any]:
    """The metadata of a stretch: that of its episode, and under "cut" where it lies in what was converted."""
    found = dict(metadata)
    if (start, stop) == (0, length):
        return found
    earlier = found.get("cut") if isinstance(found.get("cut"), dict) else {}
    before = int(earlier.get("start", 0)) if earlier else 0
    found["cut"] = {
        "episode": earlier.get("episode", name) if earlier else name,
        "start": before + start,
        "stop": before + stop,
        "frames": earlier.get("frames", length) if earlier else length,
    }
    return found


def copy_episode(source: Path, target: Path, note: dict[str, Any] | None = None) -> None:
    """A copy of a whole episode in its own layout, whole or not at all; `note` goes into its metadata."""
    with atomic_dir(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        if note:
            known = read_json(folder / METADATA) if (folder / METADATA).exists() else {}
            (folder / METADATA).write_text(json.dumps({**known, **note}, indent=2, ensure_ascii=False) + "\n", "utf-8")
