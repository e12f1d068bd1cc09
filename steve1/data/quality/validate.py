"""Checks every part of an episode to its last frame; only reads.

Output: a report of all faults by file and frame, and the parts as far as they can be read, for repair to start from.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.frames import AGENT_SIZE, MINECLIP_SIZE
from steve1.core.paths import display
from steve1.data.episodes.formats.base import EpisodeFormat
from steve1.data.episodes.formats.native import FORMAT, FORMAT_VERSION
from steve1.data.episodes.formats.registry import open_format
from steve1.data.episodes.listing import Dataset
from steve1.data.episodes.parts import (
    ACTION_MASK,
    ACTIONS,
    FIRST_GOAL,
    GOALS,
    INDEX,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    TOKENS,
    goals_file,
    load_array,
    load_goals,
    load_mask,
)
from steve1.data.media.jpegs import file_size
from steve1.data.media.video import FPS, read_frames
from steve1.data.quality.integrity import (
    EpisodeReport,
    Finding,
    action_fault,
    frame_fault,
    read_action_lines,
    split_pack,
)

_OWN = {"format": FORMAT, "format_version": FORMAT_VERSION, "fps": FPS, "frame_size": list(AGENT_SIZE)}
_Goals = NDArray[np.floating[Any]]
_ORIGIN = ("source", "camera_rounding", "keep_nulls", "tool_version")


@dataclass
class NativeParts:
    """The parts of a native episode as far as they can be read.

    Attributes:
        pack: bytes of the packed frames.
        offsets: i64 (N+1,) of the frames in it.
        index_lost: the offsets were found in the pack itself.
        sound: bool (N,), the frames that decode.
        actions: broken ones are None.
        tokens: None if they do not load.
        metadata: {} if it does not load.
        goals: None without sound ones.
        video_frames: sound frames at the beginning of the 256x160 video.
    """

    metadata: dict[str, Any]
    pack: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    index_lost: bool
    sound: NDArray[np.bool_]
    actions: list[act.EnvAction | None] = field(default_factory=list)
    tokens: NDArray[Any] | None = None
    goals: NDArray[np.floating[Any]] | None = None
    video_frames: int = 0


def check_episode(path: Path) -> EpisodeReport:
    """Read one episode to its last byte. Never raises for its faults."""
    report = EpisodeReport(path)
    if (path / PACK).exists() or (path / INDEX).exists():
        check_native(report)
        return report
    try:
        _check_other(report, open_format(path))
    except UserError as fault:
        report.add(_file_of(fault, path), None, fault.what, fault.expected, fault.got)
    return report


def _file_of(fault: UserError, path: Path) -> str:
    where = Path(fault.where.split(":")[0]) if fault.where else path
    return where.name if where != path else "."


def check_native(report: EpisodeReport) -> NativeParts:
    """Check a native episode, and read what can be read of it."""
    path = report.path
    parts = _read_frames(report)
    wanted = parts.metadata.get("n_frames")
    if parts.metadata and wanted != report.frames:
        report.add(METADATA, None, "n_frames is not the number of frames", report.frames, wanted)
    for number, (action, fault) in enumerate(read_action_lines(path / ACTIONS)):
        parts.actions.append(action)
        if fault:
            report.add(ACTIONS, number, f"line {number + 1} is not an action: {fault}")
    report.check_length(ACTIONS, "there are not as many actions as frames", len(parts.actions))
    with report.reading(TOKENS):
        parts.tokens = np.asarray(load_array(path / TOKENS))
        _check_tokens(report, parts.tokens, parts.actions)
        report.check_length(TOKENS, "there are not as many tokens as frames", len(parts.tokens))
    parts.goals = _check_goals(report, parts.metadata)
    _check_mask(report)
    parts.video_frames = _check_video(report, parts.metadata)
    return parts


def _read_frames(report: EpisodeReport) -> NativeParts:
    """The parts with every packed frame decoded."""
    pack = report.path / PACK
    metadata = _check_metadata(report)
    data = np.memmap(pack, np.uint8, "r") if file_size(pack) else np.zeros(0, np.uint8)
    if not len(data):
        report.add(PACK, None, "the file is empty" if pack.exists() else "the frames are missing")
    index: NDArray[np.int64] | None = None
    with report.reading(INDEX):
        index = _read_index(report)
    offsets = split_pack(data) if index is None else index
    if offsets[-1] != len(data):
        report.add(PACK, None, "the file is not as long as its index says", f"{offsets[-1]} bytes", len(data))
    faults = [frame_fault(data[start:stop]) for start, stop in itertools.pairwise(offsets)]
    for number, fault in enumerate(faults):
        if fault:
            report.add(PACK, number, f"broken frame: {fault}")
    report.frames = len(faults)
    return NativeParts(metadata, data, offsets, index is None, np.array([not fault for fault in faults], bool))


def _check_metadata(report: EpisodeReport) -> dict[str, Any]:
    found: Any = {}
    with report.reading(METADATA):
        found = read_json(report.path / METADATA)
    if not isinstance(found, dict):
        report.add(METADATA, None, "it is not a JSON object", got=type(found).__name__)
        return {}
    if not found:
        return {}
    for key, wanted in _OWN.items():
        if found.get(key) != wanted:
            report.add(METADATA, None, f"{key} is wrong", wanted, found.get(key, "absent"))
    absent = ", ".join(key for key in _ORIGIN if key not in found)
    if absent:
        report.add(METADATA, None, f"it does not say where the episode comes from: no {absent}", warning=True)
    return found


def _read_index(report: EpisodeReport) -> NDArray[np.int64] | None:
    found = np.asarray(load_array(report.path / INDEX))
    if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < 2:
        report.add(INDEX, None, "it is not an index", "int64 (N+1,)", f"{found.dtype} {found.shape}")
        return None
    steps = np.diff(found.astype(np.int64))
    if found[0] != 0 or (steps <= 0).any():
        report.add(INDEX, int((steps <= 0).argmax()), "its offsets do not grow from 0")
        return None
    return found.astype(np.int64)


def _check_tokens(report: EpisodeReport, tokens: NDArray[Any], actions: list[act.EnvAction | None]) -> None:
    """Compare the tokens (N, 2) with those of the sound actions."""
    if tokens.ndim != 2 or tokens.shape[1] != 2 or tokens.dtype.kind not in "iu":
        report.add(TOKENS, None, "the tokens have the wrong form", "integers (N, 2)", f"{tokens.dtype} {tokens.shape}")
        return
    known = [row for row, action in enumerate(actions[: len(tokens)]) if action is not None]
    wanted = np.stack(act.to_joint([actions[row] or {} for row in known]), axis=1)
    wrong = np.flatnonzero((tokens[known] != wanted).any(axis=1)).tolist()
    if wrong:
        more = f" and at {len(wrong) - 1} more frames" if len(wrong) > 1 else ""
        row, expected = known[wrong[0]], wanted[wrong[0]].tolist()
        report.add(TOKENS, row, f"the token is not that of the action{more}", expected, tokens[row].tolist())


def _check_goals(
    report: EpisodeReport, metadata: dict[str, Any], cut: Callable[[_Goals], _Goals] = lambda goals: goals
) -> _Goals | None:
    file = goals_file(report.path)
    if file is None:
        report.add(GOALS, None, "the episode has no goal embeddings yet", warning=True)
        return None
    note = metadata.get("mineclip")
    report.mineclip = str(note.get("sha256") or "unknown") if isinstance(note, dict) else "unknown"
    goals = None
    with report.reading(file.name):
        goals = cut(load_goals(file))
        report.embed_dim = int(goals.shape[1])
        rows = np.asarray(goals, np.float32)
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        bad = np.flatnonzero(~finite[FIRST_GOAL:]) + FIRST_GOAL
        if len(bad):
            more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
            report.add(file.name, int(bad[0]), f"the embedding is not finite{more}")
        zero = np.flatnonzero(finite[FIRST_GOAL:] & ~rows[FIRST_GOAL:].any(axis=1)) + FIRST_GOAL
        if len(zero):
            report.add(file.name, int(zero[0]), f"the embedding is all zeros (in {len(zero)} rows)")
        early = np.flatnonzero(np.isfinite(rows[:FIRST_GOAL]).any(axis=1))
        if len(early):
            what = f"one of the first {FIRST_GOAL} rows holds numbers instead of NaN"
            report.add(file.name, int(early[0]), what, warning=True)
        report.check_length(file.name, "there are not as many embeddings as frames", len(goals))
    return goals


def _check_mask(report: EpisodeReport, length: int | None = None) -> None:
    """Check the mask of imitated actions, where there is one; `length` is where longer parts end, if the episode names it."""
    with report.reading(ACTION_MASK):
        mask = load_mask(report.path)
        if mask is not None:
            mask = mask[:length]
            report.check_length(ACTION_MASK, "there are not as many rows of the mask as frames", len(mask))
            if not mask.any():
                report.add(ACTION_MASK, None, "training imitates no frame of this episode", warning=True)


def _check_video(report: EpisodeReport, metadata: dict[str, Any]) -> int:
    """Decode the frames for the embedding step; returns how many are sound before the first fault."""
    path = report.path / MINECLIP_VIDEO
    if not path.exists():
        if metadata.get("mineclip_frames") and report.embed_dim is None:
            report.add(MINECLIP_VIDEO, None, "the frames for the embedding step are missing", warning=True)
        return 0
    count = 0
    with report.reading(MINECLIP_VIDEO):
        try:
            for frame in read_frames(path):
                if frame.shape[:2] != MINECLIP_SIZE:
                    report.add(MINECLIP_VIDEO, count, "the frames have the wrong size", MINECLIP_SIZE, frame.shape[:2])
                    return count
                count += 1
        except UserError as fault:
            report.add(MINECLIP_VIDEO, count, fault.what, got=fault.got)
            return count
        report.check_length(MINECLIP_VIDEO, "there are not as many frames for MineCLIP as for the agent", count)
    return count


def _check_other(report: EpisodeReport, episode: EpisodeFormat) -> None:
    """Check an episode in another program's format."""
    count, report.frames = 0, episode.n_frames
    try:
        for _ in episode.source_frames():
            count += 1
        if count != report.frames:
            what = "the episode is not as long as it says"
            report.add("frames", min(count, report.frames), what, report.frames, count)
    except UserError as fault:
        report.add(_file_of(fault, report.path), count, fault.what, fault.expected, fault.got)
    with report.reading("actions"):
        actions = episode.actions()
        for number, action in enumerate(actions):
            if fault_text := action_fault(action):
                report.add("actions", number, f"this is not an action: {fault_text}")
        report.check_length("actions", "there are not as many actions as frames", len(actions))
    _check_goals(report, episode.metadata, episode.cut)
    _check_mask(report, episode.n_frames if episode.length_named else None)


def check_together(dataset: Dataset, reports: list[EpisodeReport]) -> list[Finding]:
    """Faults across a dataset's episodes: embeddings of two sizes or two MineCLIPs, folders without episodes."""
    for key, what in (("embed_dim", "embeddings of another size"), ("mineclip", "embeddings of another MineCLIP")):
        counts = Counter(getattr(report, key) for report in reports if getattr(report, key) is not None)
        if len(counts) < 2:
            continue
        usual = counts.most_common(1)[0][0]
        for report in reports:
            value, file = getattr(report, key), goals_file(report.path)
            if file is not None and value not in (None, usual):
                unknown = key == "mineclip" and "unknown" in (value, usual)
                text = f"{what} than most of the dataset"
                report.add(file.name, None, text, _short(usual), _short(value), warning=unknown)
    for report in reports:
        if 0 < report.frames <= FIRST_GOAL:
            what = f"{report.frames} frames are too few for a goal"
            report.add(".", None, what, f"more than {FIRST_GOAL}", warning=True)
    found = []
    for path in dataset.strange:
        what = "left behind by a run that was cut off" if path.name.startswith(".") else "this folder is not an episode"
        found.append(Finding(display(path), ".", None, what, warning=True))
    return found


def _short(value: Any) -> str:
    return f"sha256 {value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
