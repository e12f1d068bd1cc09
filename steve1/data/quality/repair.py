"""Repair: a sound copy of a broken episode. The original is only read.

In: an episode with faults. Out: a native copy of its longest sound stretch: lengths cut to the common one, index and
tokens rebuilt, broken embeddings left out so that the embedding step makes them again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import MINECLIP_SIZE
from steve1.core.paths import display
from steve1.core.pickles import load_restricted
from steve1.data.episodes.cut import cut_goals, cut_metadata, write_stretch
from steve1.data.episodes.episode import EpisodeWriter
from steve1.data.episodes.layouts import (
    ACTIONS,
    FIRST_GOAL,
    GOALS,
    GOALS_PICKLE,
    INDEX,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    GuideLayout,
    load_array,
)
from steve1.data.media.video import read_frames
from steve1.data.quality.integrity import (
    action_fault,
    frame_fault,
    load_goals,
    load_tokens,
    read_action_lines,
    split_pack,
)
from steve1.data.quality.validate import check_episode


@dataclass
class Repair:
    """What was done for one episode.

    Attributes:
        source: the episode.
        target: its sound copy, None where it could not be repaired.
        done: what was changed; or why nothing could be done.
        frames: of the copy.
    """

    source: Path
    target: Path | None
    done: list[str] = field(default_factory=list)
    frames: int = 0

    def __str__(self) -> str:
        outcome = f"{self.frames} frames in {display(self.target)}" if self.target else "not repaired"
        return f"{display(self.source)}: {outcome}: {'; '.join(self.done)}"


def repair_episode(source: Path, target: Path, *, drop_goals: bool = False) -> Repair:
    """Write a sound copy of `source` to `target`, or nothing.

    Args:
        source: an episode in any layout.
        target: the folder to make; it must not exist.
        drop_goals: leave its embeddings out whatever they are (they are of another MineCLIP than the dataset's).
    """
    if target.exists():
        return Repair(source, None, [f"{display(target)} exists already"])
    repair = Repair(source, target)
    try:
        if (source / PACK).exists():
            _repair_native(repair, target, drop_goals)
        else:
            _repair_foreign(repair, target, drop_goals)
        left = [str(finding) for finding in check_episode(target).findings if not finding.warning]
        if left:
            shutil.rmtree(target)
            raise UserError("its copy would still be broken", got="; ".join(left[:3]))
    except UserError as fault:
        repair.target = None
        repair.done = ["; ".join(part for part in (fault.what, fault.got) if part)]
    return repair


def _repair_native(repair: Repair, target: Path, drop_goals: bool) -> None:
    source = repair.source
    data: NDArray[np.uint8] = np.memmap(source / PACK, np.uint8, "r") if (source / PACK).stat().st_size else np.zeros(0, np.uint8)  # fmt: skip
    offsets, rebuilt = _offsets(source, data)
    if rebuilt:
        repair.done.append("index rebuilt")
    actions = _native_actions(source, repair)
    frames_sound = np.array([not frame_fault(data[a:b]) for a, b in itertools.pairwise(offsets)], bool)
    if rebuilt and not frames_sound.all():
        # Without an index a lost frame cannot be counted, so nothing behind it can be paired with its action.
        frames_sound[int((~frames_sound).argmax()) :] = False
    start, stop = _sound_stretch(frames_sound, actions, repair)
    metadata = _native_metadata(source, repair)
    goals = None if drop_goals else _sound_goals(source, start, stop)
    if goals is None and any((source / name).exists() for name in (GOALS, GOALS_PICKLE)):
        repair.done.append("embeddings left out, to be made again")
    if goals is None:
        metadata.pop("mineclip", None)
    video = source / MINECLIP_VIDEO if _video_reaches(source / MINECLIP_VIDEO, stop) else None
    if video is None and (source / MINECLIP_VIDEO).exists():
        repair.done.append("broken 256x160 frames left out")
    known = metadata.get("n_frames")
    length = known if isinstance(known, int) and known >= stop else max(len(offsets) - 1, stop)
    metadata = cut_metadata(metadata, source.name, start, stop, length)
    repair.done = repair.done or ["tokens, index and metadata written anew"]
    metadata["repaired"] = {"from": display(source), "done": repair.done}
    write_stretch(
        target,
        pack=data,
        offsets=offsets,
        actions=[action or {} for action in actions],
        start=start,
        stop=stop,
        metadata=metadata,
        goals=goals,
        video=video,
        copy_video=start == 0 and video is not None and _video_ends_at(video, stop),
    )
    repair.frames = stop - start


def _offsets(source: Path, data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], bool]:
    """The index, and whether it had to be rebuilt from the packed frames."""
    with contextlib.suppress(UserError, OSError):
        found = np.asarray(load_array(source / INDEX))
        if found.ndim == 1 and found.dtype.kind in "iu" and len(found) > 1:
            found = found.astype(np.int64)
            if found[0] == 0 and (np.diff(found) > 0).all():
                # Packed frames that were cut off: what the index still reaches.
                return found[: int(np.searchsorted(found, len(data), side="right"))], False
    return split_pack(data), True


def _native_actions(source: Path, repair: Repair) -> list[act.EnvAction | None]:
    if (source / ACTIONS).exists():
        return [action for action, _ in read_action_lines(source / ACTIONS)]
    tokens = load_tokens(source)
    if tokens is None or tokens.ndim != 2 or tokens.shape[1] != 2:
        raise UserError("neither its actions nor their tokens are left")
    repair.done.append("actions rebuilt from their tokens (the camera as coarse as its bins)")
    return list(act.to_env(tokens[:, 0], tokens[:, 1]))


def _sound_stretch(
    frames_sound: NDArray[np.bool_], actions: list[act.EnvAction | None], repair: Repair
) -> tuple[int, int]:
    """The longest run in which every frame and every action is sound."""
    length = min(len(frames_sound), len(actions))
    sound = frames_sound[:length] & np.array([action is not None for action in actions[:length]], bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sound, [False]]).astype(np.int8)))
    runs = [(int(stop - start), int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2])]
    longest = max(runs, key=lambda run: (run[0], -run[1]), default=(0, 0, 0))
    if longest[0] <= FIRST_GOAL:
        raise UserError(f"its longest sound stretch has {longest[0]} frames, too few for a goal")
    if longest[0] < max(len(frames_sound), len(actions)):
        repair.done.append(
            f"cut to frames {longest[1]}..{longest[2] - 1} of {len(frames_sound)} frames and {len(actions)} actions"
        )
    return longest[1], longest[2]


def _native_metadata(source: Path, repair: Repair) -> dict[str, Any]:
    try:
        found = json.loads((source / METADATA).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        why = f"a {type(found).__name__} instead of a table"
    except (OSError, ValueError) as fault:
        why = str(fault)
    repair.done.append(f"metadata lost ({why}), written anew without its origin")
    return {"source": display(source), "notes": [f"its metadata was lost: {why}"]}


def _sound_goals(source: Path, start: int, stop: int) -> NDArray[np.floating[Any]] | None:
    """The embeddings, if all those of the stretch are there and finite."""
    for name in (GOALS, GOALS_PICKLE):
        if (source / name).exists():
            try:
                goals = load_goals(source / name)
            except (UserError, OSError):
                return None
            rows = np.asarray(goals[start + FIRST_GOAL : stop], np.float32)
            whole = len(rows) == stop - start - FIRST_GOAL and np.isfinite(rows).all() and rows.any(axis=1).all()
            return goals if whole else None
    return None


def _video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    with contextlib.suppress(UserError):
        for frame in read_frames(path):
            if frame.shape[:2] != MINECLIP_SIZE:
                return
            yield frame


def _video_reaches(path: Path, stop: int) -> bool:
    return path.exists() and any(number == stop for number, _ in enumerate(_video_frames(path), 1))


def _video_ends_at(path: Path, stop: int) -> bool:
    return sum(1 for _ in _video_frames(path)) == stop


def _repair_foreign(repair: Repair, target: Path, drop_goals: bool) -> None:
    """Frames and actions of another layout up to the first fault, as a native episode."""
    source = repair.source
    actions = _foreign_actions(source)
    frames = _foreign_frames(source)
    metadata: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads((source / METADATA).read_text(encoding="utf-8"))
        metadata = known if isinstance(known, dict) else {}
    count = 0
    with EpisodeWriter(target, {**metadata, "source": display(source)}) as writer:
        with contextlib.suppress(UserError):
            for frame, action in zip(frames, actions):
                if action_fault(action):
                    break
                writer.add(frame, action)
                count += 1
        if count <= FIRST_GOAL:
            raise UserError(f"only its first {count} frames are sound, too few for a goal")
        repair.done.append(f"its first {count} frames in this project's layout")
        goals = None if drop_goals else _sound_goals(source, 0, count)
        if goals is not None:
            writer.goals = cut_goals(goals, 0, count)
        elif any((source / name).exists() for name in (GOALS, GOALS_PICKLE)):
            repair.done.append("embeddings left out, to be made again")
            writer.metadata.pop("mineclip", None)
        writer.metadata["repaired"] = {"from": display(source), "done": repair.done}
    repair.frames = count


def _foreign_actions(source: Path) -> list[Any]:
    if (source / "actions.pkl").exists() and not (source / ACTIONS).exists():
        found = load_restricted(source / "actions.pkl")
        return list(found) if isinstance(found, (list, tuple)) else []
    return [action for action, _ in read_action_lines(source / ACTIONS)]


def _foreign_frames(source: Path) -> Iterator[NDArray[np.uint8]]:
    if (source / "frames.mp4").exists():
        return read_frames(source / "frames.mp4")
    if (source / "frames").is_dir():
        return GuideLayout(source).source_frames()
    raise UserError("its frames are gone")
