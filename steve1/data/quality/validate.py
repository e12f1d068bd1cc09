"""Validation: every part of every episode, to the last frame.

In: datasets. Out: a report of all that is wrong, by episode, file and frame. Only reads.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.frames import AGENT_SIZE, MINECLIP_SIZE
from steve1.core.paths import display
from steve1.data.episodes.layouts import (
    ACTIONS,
    FIRST_GOAL,
    FORMAT,
    FORMAT_VERSION,
    GOALS,
    GOALS_PICKLE,
    INDEX,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    TOKENS,
    Layout,
    load_array,
    open_layout,
)
from steve1.data.episodes.listing import Dataset
from steve1.data.media.video import FPS, read_frames
from steve1.data.quality.integrity import (
    Finding,
    action_fault,
    frame_fault,
    goal_faults,
    load_goals,
    read_action_lines,
    split_pack,
    token_fault,
)

_OWN = {"format": FORMAT, "format_version": FORMAT_VERSION, "fps": FPS, "frame_size": list(AGENT_SIZE)}
_ORIGIN = ("source", "camera_rounding", "keep_nulls", "tool_version")


@dataclass
class EpisodeReport:
    """What is known of one episode.

    Attributes:
        path: its folder.
        frames: in its picture part; 0 where that is lost.
        embed_dim: E of its embeddings, None without them.
        mineclip: sha256 of the weights that made them; "unknown" where nothing says so, None without embeddings.
        findings: all that is wrong.
    """

    path: Path
    frames: int = 0
    embed_dim: int | None = None
    mineclip: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, file: str, frame: int | None, what: str, expected: Any = "", got: Any = "", *, warning: bool = False
    ) -> None:
        """Note one thing that is wrong."""
        self.findings.append(Finding(display(self.path), file, frame, what, str(expected), str(got), warning))

    @property
    def sound(self) -> bool:
        """No fault; warnings do not count."""
        return all(finding.warning for finding in self.findings)


def check_episode(path: Path, on_frames: Callable[[int], Any] = lambda count: None) -> EpisodeReport:
    """Read one episode to its last byte. Never raises for what is wrong with it.

    Args:
        path: the folder.
        on_frames: called with the number of frames decoded since the last call.
    """
    report = EpisodeReport(path)
    layout: Layout | None = None
    try:
        layout = open_layout(path)
    except UserError as fault:
        if not (path / PACK).exists() and not (path / INDEX).exists():
            report.add(_file_of(fault, path), None, fault.what, fault.expected, fault.got)
            return report
    if (path / PACK).exists() or (path / INDEX).exists():
        _check_native(report, on_frames)
    elif layout is not None:
        _check_foreign(report, layout, on_frames)
    return report


def _file_of(fault: UserError, path: Path) -> str:
    where = Path(fault.where.split(":")[0]) if fault.where else path
    return where.name if where != path else "."


def _check_native(report: EpisodeReport, on_frames: Callable[[int], Any]) -> None:
    metadata = _check_metadata(report)
    report.frames = _check_pack(report, on_frames)
    wanted = metadata.get("n_frames")
    if metadata and wanted != report.frames:
        report.add(METADATA, None, "n_frames is not the number of frames", report.frames, wanted)
    actions = []
    for number, (action, fault) in enumerate(read_action_lines(report.path / ACTIONS)):
        actions.append(action)
        if fault:
            report.add(ACTIONS, number, f"line {number + 1} is no action: {fault}")
    _check_length(report, ACTIONS, "actions", len(actions))
    with _named(report, TOKENS):
        tokens = load_array(report.path / TOKENS)
        frame, what, expected, got = token_fault(tokens, actions)
        if what:
            report.add(TOKENS, frame, what, expected, got)
        _check_length(report, TOKENS, "tokens", len(tokens))
    _check_goals(report, metadata)
    _check_mineclip_video(report, metadata, on_frames)


def _check_metadata(report: EpisodeReport) -> dict[str, Any]:
    found: Any = {}
    with _named(report, METADATA):
        found = read_json(report.path / METADATA)
    if not isinstance(found, dict):
        report.add(METADATA, None, "it is no JSON object", got=type(found).__name__)
        return {}
    if not found:
        return {}
    for key, wanted in _OWN.items():
        if found.get(key) != wanted:
            report.add(METADATA, None, f"{key} is wrong", wanted, found.get(key, "absent"))
    absent = [key for key in _ORIGIN if key not in found]
    if absent:
        report.add(
            METADATA, None, f"it does not say where the episode comes from: no {', '.join(absent)}", warning=True
        )
    return found


def _check_pack(report: EpisodeReport, on_frames: Callable[[int], Any]) -> int:
    """Decode every packed frame; returns how many there should be."""
    pack = report.path / PACK
    data: NDArray[np.uint8] = np.zeros(0, np.uint8)
    if pack.exists() and pack.stat().st_size:
        data = np.memmap(pack, np.uint8, "r")
    else:
        report.add(PACK, None, "the frames are missing" if not pack.exists() else "the file is empty")
    offsets: NDArray[np.int64] | None = None
    with _named(report, INDEX):
        offsets = _offsets(report)
    if offsets is None:
        offsets = split_pack(data)
    elif offsets[-1] != len(data):
        report.add(PACK, None, "the file is not as long as its index says", f"{offsets[-1]} bytes", len(data))
    for number, (start, stop) in enumerate(itertools.pairwise(offsets)):
        fault = frame_fault(data[start:stop])
        if fault:
            report.add(PACK, number, f"broken frame: {fault}")
        on_frames(1)
    return len(offsets) - 1


def _offsets(report: EpisodeReport) -> NDArray[np.int64] | None:
    found = np.asarray(load_array(report.path / INDEX))
    if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < 2:
        report.add(INDEX, None, "it is no index", "int64 (N+1,)", f"{found.dtype} {found.shape}")
        return None
    steps = np.diff(found.astype(np.int64))
    if found[0] != 0 or (steps <= 0).any():
        report.add(INDEX, int((steps <= 0).argmax()), "its offsets do not grow from 0")
        return None
    return found.astype(np.int64)


def _check_length(report: EpisodeReport, file: str, what: str, length: int) -> None:
    if length != report.frames:
        report.add(file, min(length, report.frames), f"{what} and frames are not equally many", report.frames, length)


def _check_goals(report: EpisodeReport, metadata: dict[str, Any]) -> None:
    file = next((name for name in (GOALS, GOALS_PICKLE) if (report.path / name).exists()), "")
    if not file:
        report.add(GOALS, None, "the episode has no goal embeddings yet", warning=True)
        return
    note = metadata.get("mineclip")
    report.mineclip = str(note.get("sha256") or "unknown") if isinstance(note, dict) else "unknown"
    with _named(report, file):
        goals = load_goals(report.path / file)
        report.embed_dim = int(goals.shape[1])
        for row, what, warning in goal_faults(goals):
            report.add(file, row, what, warning=warning)
        _check_length(report, file, "embeddings", len(goals))


def _check_mineclip_video(report: EpisodeReport, metadata: dict[str, Any], on_frames: Callable[[int], Any]) -> None:
    path = report.path / MINECLIP_VIDEO
    if not path.exists():
        if metadata.get("mineclip_frames") and report.embed_dim is None:
            report.add(MINECLIP_VIDEO, None, "the frames for the embedding step are missing", warning=True)
        return
    count = 0
    with _named(report, MINECLIP_VIDEO):
        try:
            for frame in read_frames(path):
                if frame.shape[:2] != MINECLIP_SIZE:
                    report.add(MINECLIP_VIDEO, count, "the frames have the wrong size", MINECLIP_SIZE, frame.shape[:2])
                    return
                count += 1
        except UserError as fault:
            report.add(MINECLIP_VIDEO, count, fault.what, got=fault.got)
            return
        _check_length(report, MINECLIP_VIDEO, "MineCLIP's frames", count)


def _check_foreign(report: EpisodeReport, layout: Layout, on_frames: Callable[[int], Any]) -> None:
    """An episode in the guide's or STEVE-1's layout."""
    count = 0
    try:
        for _ in layout.source_frames():
            count += 1
            on_frames(1)
        if count != layout.n_frames:
            report.add(
                "frames", min(count, layout.n_frames), "the episode is not as long as it says", layout.n_frames, count
            )
    except UserError as fault:
        report.add(_file_of(fault, report.path), count, fault.what, fault.expected, fault.got)
    report.frames = layout.n_frames
    with _named(report, "actions"):
        actions = layout.actions()
        for number, action in enumerate(actions):
            fault_text = action_fault(action)
            if fault_text:
                report.add("actions", number, f"this is no action: {fault_text}")
        _check_length(report, "actions", "actions", len(actions))
    _check_goals(report, layout.metadata)


@contextlib.contextmanager
def _named(report: EpisodeReport, file: str) -> Any:
    """Turn an error about a part into a finding about it."""
    try:
        yield
    except UserError as fault:
        report.add(file, None, fault.what, fault.expected, fault.got)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as fault:
        report.add(file, None, "this part cannot be read", got=f"{type(fault).__name__}: {fault}")


def check_together(dataset: Dataset, reports: list[EpisodeReport]) -> list[Finding]:
    """What only shows across a dataset's episodes: embeddings of two sizes or of two MineCLIPs, folders that are none."""
    found = []
    for key, what in (("embed_dim", "embeddings of another size"), ("mineclip", "embeddings of another MineCLIP")):
        counts = Counter(getattr(report, key) for report in reports if getattr(report, key) is not None)
        if len(counts) < 2:
            continue
        usual = counts.most_common(1)[0][0]
        for report in reports:
            value = getattr(report, key)
            if value is not None and value != usual:
                file = GOALS if (report.path / GOALS).exists() else GOALS_PICKLE
                unknown = key == "mineclip" and "unknown" in (value, usual)
                report.add(
                    file, None, f"{what} than most of the dataset", _short(usual), _short(value), warning=unknown
                )
    for path in dataset.strange:
        what = "left behind by a run that was cut off" if path.name.startswith(".") else "this folder is no episode"
        found.append(Finding(display(path), ".", None, what, warning=True))
    short = [report for report in reports if 0 < report.frames <= FIRST_GOAL]
    for report in short:
        report.add(".", None, f"{report.frames} frames are too few for a goal", f"more than {FIRST_GOAL}", warning=True)
    return found


def _short(value: Any) -> str:
    return f"sha256 {value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
