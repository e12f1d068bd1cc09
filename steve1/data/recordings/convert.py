"""Conversion: recordings → native episodes, each decoded once, none ever whole in memory.

In: a recording and how its actions are to be read. Out: an episode folder, or the reason why there is none.
"""

from __future__ import annotations

import errno
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
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.frames import draw_cursor
from steve1.core.paths import display
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.episodes.parts import ACTIONS
from steve1.data.media.video import FPS, RECORDER_SIZE, decoded_frames, probe, recorder_size
from steve1.data.recordings.recording import Recording, Ticks
from steve1.data.recordings.resample import FPS_TOLERANCE, Rates, at_game_rate, check_even, read_game_ticks

#: faults of the machine, not of a recording: they would meet the next one too
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO}


@dataclass(frozen=True)
class ConvertSettings:
    """How recordings become episodes.

    Attributes:
        keep_nulls: keep frames at which nothing was done (needed where standing still is the skill).
        camera_rounding: "float", or "legacy_int" as the labels of the published weights were made.
        esc_as_inventory: ESC with a menu open becomes the inventory key.
        keep_mineclip_frames: also write the 256x160 frames that the embedding step reads.
        source_fps: frames a second at which the recordings were really made; 0: as each video says, 20 for folders of frames.
    """

    keep_nulls: bool = False
    camera_rounding: str = "float"
    esc_as_inventory: bool = False
    keep_mineclip_frames: bool = True
    source_fps: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.source_fps < float("inf"):
            raise UserError("A frame rate is a positive number.", expected="such as 30", got=str(self.source_fps))
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
    """Convert one recording; never raises for what is wrong with it, only for what is wrong with the machine (OSError).

    Args:
        recording: from `find_recordings`.
        output_dir: where `<recording.name>/` is made; an episode that is there already is left alone,
            and the recording refused if the episode was made from another one.
        settings: see there.
        on_frames: called with the number of frames decoded since the last call.
    """
    begun = time.monotonic()
    target = Path(output_dir) / recording.name
    result = Result(display(recording.video), "converted", notes=[], episode=display(target))
    assert result.notes is not None
    try:
        if target.exists():
            _already(recording, target, settings, result)
        else:
            _convert(recording, target, settings, result, on_frames or (lambda count: None))
    except UserError as fault:
        result.status, result.reason = "refused", fault.one_line
    except OSError as fault:
        too_long = fault.errno == errno.ENAMETOOLONG
        if fault.errno in _MACHINE or (_lies_in(fault.filename, Path(output_dir)) and not too_long):
            raise
        result.status, result.reason = "refused", f"{fault.strerror or fault}: {fault.filename or recording.video}"
    except Exception as fault:
        # One recording that breaks a decoder must not end a night's run; its name and reason are in the report.
        result.status, result.reason = "refused", f"{type(fault).__name__}: {fault}"
    if result.status == "refused":
        result.episode = ""
    result.seconds = round(time.monotonic() - begun, 3)
    return result


def _lies_in(path: object, folder: Path) -> bool:
    """Whether a file that could not be opened is one that conversion itself wanted to write."""
    return (
        isinstance(path, (str, bytes, os.PathLike)) and folder.absolute() in Path(os.fsdecode(path)).absolute().parents
    )


def _already(recording: Recording, target: Path, settings: ConvertSettings, result: Result) -> None:
    episode = Episode(target)
    _check_same_source(recording, target, episode.metadata)
    result.status, result.frames = "exists", len(episode)
    if changed := _changed_settings(episode.metadata, settings):
        result.notes = [
            f"was converted with {', '.join(changed)}; it stays as it is: "
            "use another output folder to have the recording converted with the new settings"
        ]


def _check_same_source(recording: Recording, target: Path, known: dict[str, Any]) -> None:
    """Raises UserError where the episode's metadata says that it was made from other files; old ones say nothing."""
    hashes = known.get("sha256")
    if not isinstance(hashes, dict):
        return
    # By suffix: the same files under other names, or in another folder, are the same recording.
    earlier = {Path(name).suffix: digest for name, digest in hashes.items()}
    for path in _identifying_files(recording):
        # A download whose episode is there already is not fetched again.
        if path.exists() and sha256_file(path) != earlier.get(path.suffix):
            raise UserError(
                "Another recording of this name was converted already.",
                where=target,
                expected=f"an episode made from {path}",
                got=f"one made from another file ({known.get('source', 'unknown')})",
                todo="rename this recording, or convert the parent folder of both into a new output folder; "
                "if this one replaces the other, remove the episode first",
            )


def _identifying_files(recording: Recording) -> list[Path]:
    """What tells a recording from another of its name, the smallest first; of a folder of frames its actions."""
    if recording.ticks is not None:
        return [recording.ticks, recording.video]
    return [path for name in (ACTIONS, "actions.pkl") if (path := recording.video / name).exists()]


def _changed_settings(known: dict[str, Any], settings: ConvertSettings) -> list[str]:
    """The settings that are not those of the episode's metadata, with both values; one that it does not tell is no change."""
    pairs: dict[str, tuple[Any, Any]] = {
        "keep_nulls": (known.get("keep_nulls"), settings.keep_nulls),
        "camera_rounding": (known.get("camera_rounding"), settings.camera_rounding),
        "esc_as_inventory": (known.get("esc_as_inventory"), settings.esc_as_inventory),
        "mineclip_frames": (known.get("mineclip_frames"), settings.keep_mineclip_frames),
    }
    # "source_fps" is the video's own rate; "resampled" has the one that conversion went by.
    own = FPS if known.get("source_kind") == "episode" else known.get("source_fps")
    if own is not None:
        used = (known.get("resampled") or {}).get("video_fps", FPS)
        pairs["source_fps"] = (_rate_text(used), _rate_text(settings.source_fps or own))
    return [f"{name} {old} (now {new})" for name, (old, new) in pairs.items() if old not in (None, new)]


def _rate_text(rate: float) -> str:
    # Four digits: of the video's rate the metadata has a rounded value only.
    return f"{FPS if abs(rate - FPS) <= FPS_TOLERANCE else rate:.4g}"


def _convert(
    recording: Recording, target: Path, settings: ConvertSettings, result: Result, on_frames: Callable[[int], Any]
) -> None:
    ticks, rates = read_game_ticks(
        recording, settings.camera_rounding, esc_as_inventory=settings.esc_as_inventory, source_fps=settings.source_fps
    )
    result.ticks, notes = len(ticks.actions), ticks.notes
    keep = np.ones_like(ticks.keep) if settings.keep_nulls else ticks.keep
    if not keep.any():
        raise UserError(
            "Nothing is done in this recording: every tick is null.",
            where=recording.ticks or recording.video,
            todo="add --keep_nulls if standing still is what it shows",
        )
    known = _provenance(recording, ticks, settings, rates)
    with EpisodeWriter(target, known, keep_mineclip_frames=settings.keep_mineclip_frames) as writer:
        used = 0
        for number, (frame, action) in enumerate(_paired(recording, ticks, rates, notes)):
            if number == 0:
                notes += _shape_notes(recording, frame)
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
        dropped = f"{used - len(writer)} null frames were dropped: embed it again, or use --keep_nulls"
        why = dropped if used == len(source) else "its frames were resampled: embed it again"
        notes.append(f"its embeddings are left behind, since {why}")


def _shape_notes(recording: Recording, frame: NDArray[np.uint8]) -> list[str]:
    """A word on pictures of another shape than the recorders' (square ones of an episode are theirs, squeezed)."""
    height, width = frame.shape[:2]
    wanted = RECORDER_SIZE[0] / RECORDER_SIZE[1]
    if recording.ticks is None or abs(width / height / wanted - 1) < 0.15:
        return []
    return [f"its pictures are {width / height:.2f} times as wide as high and are stretched to {wanted:.2f}"]


def _paired(
    recording: Recording, ticks: Ticks, rates: Rates, notes: list[str]
) -> Iterator[tuple[NDArray[np.uint8], EnvAction]]:
    """Frames with the action taken on each; ends with the shorter of the two and notes which it was.

    Raises:
        UserError: the lengths differ and tick numbers jump, or frames come unevenly: which frame belongs to which action
            cannot be known.
    """
    # By the video's own clock: that its rate is another one than it says changes nothing about how evenly frames come.
    pace = _Pace(rates.video if recording.ticks is None else probe(recording.video).fps or rates.video)
    frames = _frames(recording, rates, pace)
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
    # Rounding alone moves the end of a resampled recording by a frame.
    same = not longer and count == len(ticks.actions)
    notes += filter(None, [check_even(pace.worst, not same or rates.resampled, recording.video)])
    if same:
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


class _Pace:
    """Watches how far a video's frames come from an even pace."""

    def __init__(self, fps: float) -> None:
        self._fps, self.worst = fps, 0.0

    def watch(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The frames as they are."""
        first: float | None = None
        for number, frame in enumerate(frames):
            if frame.time is not None:
                first = frame.time if first is None else first
                self.worst = max(self.worst, abs(frame.time - first - number / self._fps))
            yield frame


def _frames(recording: Recording, rates: Rates, pace: _Pace) -> Iterator[NDArray[np.uint8]]:
    """Pictures at the game's rate, no larger than a recorder's, each an array of its own."""
    if recording.ticks is None:
        pictures = Episode(recording.video).source_frames()
        yield from pictures if not rates.resampled else map(np.copy, at_game_rate(pictures, rates.video))
        return
    frames = pace.watch(decoded_frames(recording.video))
    for frame in at_game_rate(frames, rates.video) if rates.resampled else frames:
        yield recorder_size(frame.to_ndarray(format="rgb24"))


def _provenance(recording: Recording, ticks: Ticks, settings: ConvertSettings, rates: Rates) -> dict[str, Any]:
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
    if rates.resampled:
        known["resampled"] = rates.note
    if recording.ticks is not None:
        info = probe(recording.video)
        known["source_size"], known["source_fps"] = [info.width, info.height], round(info.fps, 4)
    known["sha256"] = {path.name: sha256_file(path) for path in _identifying_files(recording)}
    for key in ("behaviour", "captions"):
        if key in options:
            known[key] = options[key]
    return known | ({"options": options} if options else {})
