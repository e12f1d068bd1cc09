"""Conversion: recordings → native episodes, each decoded once, none ever whole in memory.

In: a recording and how its actions are to be read. Out: an episode folder, or the reason why there is none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import steve1
from steve1.actions import CAMERA_ROUNDINGS, EnvAction
from steve1.core.cursor import draw_cursor
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.paths import display

from .episode import Episode, EpisodeWriter
from .recordings import Recording, Ticks, read_ticks
from .video import FPS, probe, read_frames

#: frames a second that still count as 20
FPS_TOLERANCE = 0.1


@dataclass(frozen=True)
class ConvertSettings:
    """How recordings become episodes.

    Attributes:
        keep_nulls: keep frames at which nothing was done (needed where standing still is the skill).
        camera_rounding: "float", or "legacy_int" as the labels of the published weights were made.
        esc_as_inventory: ESC with a menu open becomes the inventory key.
        keep_mineclip_frames: also write the 256x160 frames that the embedding step reads.
    """

    keep_nulls: bool = False
    camera_rounding: str = "float"
    esc_as_inventory: bool = False
    keep_mineclip_frames: bool = True

    def __post_init__(self) -> None:
        if self.camera_rounding not in CAMERA_ROUNDINGS:
            raise UserError(
                "Unknown camera rounding.", expected=" or ".join(CAMERA_ROUNDINGS), got=self.camera_rounding
            )


@dataclass
class Result:
    """One line of the report: what became of a recording.

    Attributes:
        recording: its path.
        status: "converted", "exists" or "refused"; of a download also "missing" or "failed".
        reason: why it was refused.
        notes: warnings.
        episode: the folder made.
        ticks, frames: in the recording, in the episode.
        seconds: wall time.
    """

    recording: str
    status: str
    reason: str = ""
    notes: list[str] | None = None
    episode: str = ""
    ticks: int = 0
    frames: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        """For the .jsonl report."""
        return asdict(self)


def convert_recording(
    recording: Recording,
    output_dir: str | os.PathLike[str],
    settings: ConvertSettings,
    on_frames: Callable[[int], Any] | None = None,
) -> Result:
    """Convert one recording; never raises for what is wrong with it.

    Args:
        recording: from `find_recordings`.
        output_dir: where `<recording.name>/` is made; an episode that is there already is left alone.
        settings: see there.
        on_frames: called with the number of frames decoded since the last call.
    """
    begun = time.monotonic()
    target = Path(output_dir) / recording.name
    result = Result(display(recording.video), "converted", notes=[], episode=display(target))
    assert result.notes is not None
    try:
        if target.exists():
            _already(target, settings, result)
        else:
            _convert(recording, target, settings, result, on_frames or (lambda count: None))
    except UserError as fault:
        result.status, result.reason = "refused", _one_line(fault)
    except (OSError, MemoryError):
        raise  # a full disk or a lost folder is no fault of this recording
    except Exception as fault:
        # One recording that breaks a decoder must not end a night's run; its name and reason are in the report.
        result.status, result.reason = "refused", f"{type(fault).__name__}: {fault}"
    if result.status == "refused":
        result.episode = ""
    result.seconds = round(time.monotonic() - begun, 3)
    return result


def _one_line(fault: UserError) -> str:
    return "; ".join(" ".join(line.split()) for line in str(fault).splitlines())


def _already(target: Path, settings: ConvertSettings, result: Result) -> None:
    result.status = "exists"
    episode = Episode(target)
    result.frames = len(episode)
    earlier = {key: episode.metadata.get(key) for key in ("keep_nulls", "camera_rounding")}
    wanted = {"keep_nulls": settings.keep_nulls, "camera_rounding": settings.camera_rounding}
    if None not in earlier.values() and earlier != wanted:
        result.notes = [f"was converted with {earlier}, not {wanted}; remove it to convert it anew"]


def _convert(
    recording: Recording, target: Path, settings: ConvertSettings, result: Result, on_frames: Callable[[int], Any]
) -> None:
    ticks = read_ticks(recording, settings.camera_rounding, esc_as_inventory=settings.esc_as_inventory)
    result.ticks, notes = len(ticks.actions), ticks.notes
    keep = np.ones_like(ticks.keep) if settings.keep_nulls else ticks.keep
    if not keep.any():
        raise UserError(
            "Nothing is done in this recording: every tick is null.",
            where=recording.ticks or recording.video,
            todo="add --keep_nulls if standing still is what it shows",
        )
    if recording.ticks is not None:
        _check_rate(recording.video)
    with EpisodeWriter(
        target, _provenance(recording, ticks, settings), keep_mineclip_frames=settings.keep_mineclip_frames
    ) as writer:
        used = 0
        for number, (frame, action) in enumerate(_paired(recording, ticks, notes)):
            if keep[number]:
                writer.add(frame, action)
            used = number + 1
            if used % 32 == 0:
                on_frames(32)
        on_frames(used % 32)
        if not len(writer):
            raise UserError("Nothing is done in this recording before its video ends.", where=recording.video)
        _carry_goals(recording, writer, used, notes)
        writer.metadata |= {"source_frames": used, "null_frames_dropped": used - len(writer), "notes": notes}
        result.frames, result.notes = len(writer), notes


def _carry_goals(recording: Recording, writer: EpisodeWriter, used: int, notes: list[str]) -> None:
    """Embeddings of an episode folder stay valid as long as no frame is dropped."""
    source = Episode(recording.video) if recording.ticks is None else None
    if source is None or not source.has_goals:
        return
    if used == len(writer) == len(source):
        writer.goals = np.asarray(source.goals)
    else:
        notes.append(
            f"its embeddings are left behind, since {used - len(writer)} null frames were dropped: embed it again, or use --keep_nulls"
        )


def _check_rate(video: Path) -> None:
    fps = probe(video).fps
    if abs(fps - FPS) > FPS_TOLERANCE:
        raise UserError(
            "This video has another frame rate than the game's ticks.",
            where=video,
            expected=f"{FPS} +- {FPS_TOLERANCE} frames/s",
            got=f"{fps:g}",
        )


def _paired(recording: Recording, ticks: Ticks, notes: list[str]) -> Iterator[tuple[NDArray[np.uint8], EnvAction]]:
    """Frames with the action taken on each; ends with the shorter of the two and notes which it was.

    Raises:
        UserError: the lengths differ and tick numbers jump: which frame belongs to which action cannot be known.
    """
    frames = _frames(recording)
    count, longer = 0, False
    for frame in frames:
        if count == len(ticks.actions):
            longer = True
            break
        x, y = ticks.pointer[count]
        if np.isfinite(x) and np.isfinite(y):
            height, width = frame.shape[:2]
            frame = draw_cursor(frame, int(np.clip(x * height, 0, width)), int(np.clip(y * height, 0, height)))
        yield frame, ticks.actions[count]
        count += 1
    if not longer and count == len(ticks.actions):
        return
    jump = next((note for note in notes if note.startswith("tick numbers")), "")
    got = f"more than {count} frames for {count} ticks" if longer else f"{count} frames for {len(ticks.actions)} ticks"
    if jump:
        raise UserError(
            "Ticks are missing, so frames and actions cannot be paired.",
            where=recording.ticks or "",
            got=f"{got}; {jump}",
            todo="record it again",
        )
    notes.append(f"{got}: cut to the shorter")


def _frames(recording: Recording) -> Iterator[NDArray[np.uint8]]:
    if recording.ticks is not None:
        yield from read_frames(recording.video)
        return
    yield from Episode(recording.video).source_frames()


def _provenance(recording: Recording, ticks: Ticks, settings: ConvertSettings) -> dict[str, Any]:
    options = recording.options
    known: dict[str, Any] = {
        "source": display(recording.video),
        "source_kind": "recording" if recording.ticks else "episode",
        "recorder_version": recording.version or None,
        "keep_nulls": settings.keep_nulls,
        "camera_rounding": settings.camera_rounding,
        "esc_as_inventory": settings.esc_as_inventory,
        "gui_share": round(ticks.gui_share, 4),
        "tool_version": steve1.__version__,
    }
    if recording.ticks is not None:
        known["sha256"] = {path.name: sha256_file(path) for path in (recording.video, recording.ticks)}
    for key in ("behaviour", "captions"):
        if key in options:
            known[key] = options[key]
    return known | ({"options": options} if options else {})
