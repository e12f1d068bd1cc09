"""Writes a sound copy of a broken episode; the original is only read.

Output: a native episode of the longest sound stretch, with index and tokens made again and broken embeddings left out.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json, remove
from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.core.reading.pickles import load_restricted
from steve1.data.episodes.cut import cut_goals, cut_metadata
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.guide import GuideFormat
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.episodes.formats.steve1 import named_length
from steve1.data.episodes.origin import differences, made_from
from steve1.data.episodes.parts import (
    ACTIONS,
    ACTIONS_PICKLE,
    FIRST_GOAL,
    LABEL_LOGP,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    goals_file,
    load_array,
    load_goals,
    load_mask,
)
from steve1.data.media.video import read_frames
from steve1.data.quality.integrity import EpisodeReport, action_fault, read_action_lines
from steve1.data.quality.measures import longest_run
from steve1.data.quality.validate import NativeParts, check_episode, check_native


@dataclass
class Repair:
    """What was done for one episode.

    Attributes:
        source: the episode.
        target: its sound copy, None if it could not be repaired.
        done: what was changed, or why nothing could be done.
        frames: of the copy.
    """

    source: Path
    target: Path | None
    done: list[str] = field(default_factory=list)
    frames: int = 0

    def __str__(self) -> str:
        outcome = translated(f"{self.frames} frames in {display(self.target)}" if self.target else "not repaired")
        return f"{display(self.source)}: {outcome}: {'; '.join(map(translated, self.done))}"


def repair_episode(source: Path, target: Path, *, drop_goals: bool = False) -> Repair:
    """Write a sound copy of an episode in any format to the new folder `target`, or nothing.

    `drop_goals` leaves its embeddings out, because they are of another MineCLIP than the dataset's.
    """
    repair = Repair(source, target)
    try:
        if target.exists():
            if differences(target, source, drop_goals=drop_goals) is None:
                return Repair(source, None, [f"{display(target)} exists already"])
            return Repair(source, target, ["was repaired before"], len(Episode(target)))
        if (source / PACK).exists():
            _repair_native(repair, target, drop_goals)
        else:
            _repair_other(repair, target, drop_goals)
        left = [str(finding) for finding in check_episode(target).findings if not finding.warning]
        if left:
            remove(target)
            raise UserError("its copy would still be broken", got="; ".join(left[:3]))
    except UserError as fault:
        repair.target = None
        repair.done = ["; ".join(part for part in (fault.what, fault.got) if part)]
    return repair


def _repair_native(repair: Repair, target: Path, drop_goals: bool) -> None:
    source = repair.source
    report = EpisodeReport(source)
    parts = check_native(report)
    if parts.index_lost:
        repair.done.append("index rebuilt")
        if not parts.sound.all():
            # Without an index a lost frame is not counted, so the frames after it cannot be paired with actions.
            parts.sound[int((~parts.sound).argmax()) :] = False
    actions = _actions(parts, repair)
    if len(actions) != len(parts.sound):
        parts.sound[_before_lost(actions, parts) :] = False
    start, stop = _sound_stretch(parts.sound, actions, repair)
    metadata = dict(parts.metadata)
    if not metadata:
        why = next((f.got or f.what for f in report.findings if f.file == METADATA), "it is empty")
        repair.done.append(f"metadata lost ({why}), written anew without its origin")
        metadata = {"source": display(source), "notes": [f"its metadata was lost: {why}"]}
    goals = _sound_goals(None if drop_goals else parts.goals, start, stop, repair, metadata)
    video = source / MINECLIP_VIDEO if parts.video_frames >= stop else None
    if video is None and (source / MINECLIP_VIDEO).exists():
        repair.done.append("broken 256x160 frames left out")
    known = metadata.get("n_frames")
    length = known if isinstance(known, int) and known >= stop else max(len(parts.sound), stop)
    metadata = cut_metadata(metadata, source.name, start, stop, length)
    repair.done = repair.done or ["tokens, index and metadata written anew"]
    metadata |= made_from(source, drop_goals=drop_goals)
    metadata["repaired"] = {"from": display(source), "done": repair.done}
    with EpisodeWriter(target, metadata, keep_mineclip_frames=False) as writer:
        writer.copy(parts.pack, parts.offsets[start : stop + 1], [action or {} for action in actions[start:stop]])
        writer.goals = goals
        writer.imitated = _sound_mask(source, start, stop, repair)
        with contextlib.suppress(UserError):
            sure = load_array(source / LABEL_LOGP) if (source / LABEL_LOGP).exists() else None
            writer.label_logp = None if sure is None or len(sure) < stop else sure[start:stop]
        if video is not None:
            writer.copy_video(video, np.arange(start, stop), whole=stop - start == parts.video_frames)
    repair.frames = stop - start


def _actions(parts: NativeParts, repair: Repair) -> list[act.EnvAction | None]:
    if (repair.source / ACTIONS).exists():
        return parts.actions
    tokens = parts.tokens
    if tokens is None or tokens.ndim != 2 or tokens.shape[1] != 2:
        raise UserError("neither its actions nor their tokens are left")
    repair.done.append("actions rebuilt from their tokens (the camera as coarse as its bins)")
    return list(act.to_env(tokens[:, 0], tokens[:, 1]))


def _before_lost(actions: list[act.EnvAction | None], parts: NativeParts) -> int:
    """How many actions come before a line that is lost, or one too many: those after it belong to other frames, as the tokens tell."""
    tokens = parts.tokens
    if tokens is None or tokens.shape != (len(parts.sound), 2):
        return len(parts.sound)
    known = [row for row, action in enumerate(actions[: len(tokens)]) if action is not None]
    wanted = np.stack(act.to_joint([actions[row] or {} for row in known]), axis=1)
    other = np.flatnonzero((tokens[known] != wanted).any(axis=1))
    return known[int(other[0])] if len(other) else len(parts.sound)


def _sound_stretch(
    frames_sound: NDArray[np.bool_], actions: list[act.EnvAction | None], repair: Repair
) -> tuple[int, int]:
    """The longest run in which every frame and every action is sound."""
    length = min(len(frames_sound), len(actions))
    sound = frames_sound[:length] & np.array([action is not None for action in actions[:length]], bool)
    count, start = longest_run(sound)
    if count <= FIRST_GOAL:
        raise UserError(f"its longest sound stretch has {count} frames, too few for a goal")
    if count < max(len(frames_sound), len(actions)):
        whole = f"{len(frames_sound)} frames and {len(actions)} actions"
        repair.done.append(f"cut to frames {start}..{start + count - 1} of {whole}")
    return start, start + count


def _sound_goals(
    goals: NDArray[np.floating[Any]] | None, start: int, stop: int, repair: Repair, metadata: dict[str, Any]
) -> NDArray[np.floating[Any]] | None:
    """The embeddings of the stretch if all of them exist and are sound; otherwise None, and `metadata` loses "mineclip"."""
    if goals is not None:
        rows = np.asarray(goals[start + FIRST_GOAL : stop], np.float32)
        if len(rows) == stop - start - FIRST_GOAL and np.isfinite(rows).all() and rows.any(axis=1).all():
            return cut_goals(goals, start, stop)
    if goals_file(repair.source) is not None:
        repair.done.append("embeddings left out, to be made again")
    metadata.pop("mineclip", None)
    return None


def _sound_mask(source: Path, start: int, stop: int, repair: Repair) -> NDArray[np.bool_] | None:
    """The stretch's mask of imitated actions.

    Raises:
        UserError: it is broken. Without it training would imitate what was kept from it.
    """
    mask = load_mask(source)
    if mask is not None and len(mask) < stop:
        raise UserError("its mask of actions is too short", got=f"{len(mask)} rows for {stop} frames")
    return None if mask is None else mask[start:stop]


def _repair_other(repair: Repair, target: Path, drop_goals: bool) -> None:
    """Frames and actions of another format up to the first fault, as a native episode."""
    source = repair.source
    metadata, goals, length = {}, None, None
    actions = _other_actions(source)
    frames = _other_frames(source, len(actions))
    with contextlib.suppress(UserError, OSError):
        known = read_json(source / METADATA)
        metadata = known if isinstance(known, dict) else {}
    with contextlib.suppress(UserError):
        length = named_length(source)
    with EpisodeWriter(target, metadata | {"source": display(source)}) as writer:
        with contextlib.suppress(UserError):
            for frame, action in itertools.islice(zip(frames, actions), length):
                if action_fault(action):
                    break
                writer.add(frame, action)
        count = len(writer)
        if count <= FIRST_GOAL:
            raise UserError(f"only its first {count} frames are sound, too few for a goal")
        repair.done.append(f"its first {count} frames in this project's format")
        with contextlib.suppress(UserError, OSError):
            if not drop_goals and (file := goals_file(source)) is not None:
                goals = load_goals(file)
        writer.goals = _sound_goals(goals, 0, count, repair, writer.metadata)
        writer.imitated = _sound_mask(source, 0, count, repair)
        writer.metadata |= made_from(source, drop_goals=drop_goals)
        writer.metadata["repaired"] = {"from": display(source), "done": repair.done}
    repair.frames = count


def _other_actions(source: Path) -> list[Any]:
    if (source / ACTIONS_PICKLE).exists() and not (source / ACTIONS).exists():
        found = load_restricted(source / ACTIONS_PICKLE)
        return list(found) if isinstance(found, (list, tuple)) else []
    return [action for action, _ in read_action_lines(source / ACTIONS)]


def _other_frames(source: Path, n_actions: int) -> Iterator[NDArray[np.uint8]]:
    """The frames; of pictures that are fewer or more than the actions, those before the first number that is missing."""
    if (source / "frames.mp4").exists():
        return read_frames(source / "frames.mp4")
    if (source / "frames").is_dir():
        guide = GuideFormat(source)
        known = guide.n_frames if guide.n_frames == n_actions else guide.before_gap
        return itertools.islice(guide.source_frames(), known)
    raise UserError("its frames are gone")
