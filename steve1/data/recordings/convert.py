"""Converts a recording to a native episode, decoding it once and never holding it whole in memory."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import steve1
from steve1.actions import EnvAction
from steve1.core.errors import UserError
from steve1.core.frames import draw_cursor
from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.episodes.parts import prompts_of
from steve1.data.media.video import FPS
from steve1.data.recordings.pairing import FPS_TOLERANCE, Pairing
from steve1.data.recordings.recording import Recording, Ticks
from steve1.data.recordings.resample import read_game_ticks
from steve1.data.recordings.summary import Result

#: faults of the machine, not of a recording: the next one would fail too
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO}
#: layouts whose facts say what an episode shows (those of the others stand in -options.json), and where
_TOLD_BY_FACTS, _SAID = ("episode", "lerobot"), ("behaviour", "captions")


@dataclass(frozen=True)
class ConvertSettings:
    """How recordings become episodes."""

    keep_nulls: bool = False
    """Keep frames without any action. Needed if standing still is part of the skill."""
    camera_rounding: Literal["float", "legacy_int"] = "float"
    """float: exact. legacy_int: whole degrees, as in the data of the published weights."""
    esc_as_inventory: bool = False
    """Treat ESC in an open menu as the inventory key, as VPT's training did."""
    policy_frames: Literal["context", "imitate"] = "context"
    """Ticks of a policy that somebody took over from, and of scripted players that looked away by chance: only seen (context), or imitated like the rest."""
    mineclip_frames: bool = True
    """Also write the 256x160 frames that embedding needs."""
    source_fps: float = 0.0
    """True frame rate of the recordings, if the files state a wrong one or none; other rates than 20 are resampled."""

    def __post_init__(self) -> None:
        if not 0 <= self.source_fps < float("inf"):
            raise UserError("A frame rate is a positive number.", expected="such as 30", got=self.source_fps)
        if self.camera_rounding not in ("float", "legacy_int"):
            raise UserError("Unknown camera rounding.", expected="float or legacy_int", got=self.camera_rounding)


def convert_recording(
    recording: Recording,
    output_dir: str | os.PathLike[str],
    settings: ConvertSettings,
    on_frames: Callable[[int], object] = lambda count: None,
) -> Result:
    """Convert one recording; raises only for faults of the machine (OSError), not of the recording.

    Args:
        output_dir: where `<recording.name>/` is made. An episode that exists is left alone, and the recording refused if
            the episode was made from another one.
        on_frames: called with the number of frames decoded since the last call.
    """
    begun = time.monotonic()
    target = Path(output_dir) / recording.name
    result = Result(display(recording.video), "converted", episode=display(target))
    try:
        if target.exists():
            _compare(recording, target, settings, result)
        else:
            _convert(recording, target, settings, result, on_frames)
    except UserError as fault:
        result.status, result.reason = "refused", fault.one_line
    except OSError as fault:
        of_output = isinstance(fault.filename, (str, bytes, os.PathLike)) and (
            Path(output_dir).absolute() in Path(os.fsdecode(fault.filename)).absolute().parents
        )
        if fault.errno in _MACHINE or (of_output and fault.errno != errno.ENAMETOOLONG):
            raise
        result.status, result.reason = "refused", f"{fault.strerror or fault}: {fault.filename or recording.video}"
    except Exception as fault:
        # One recording that breaks a decoder must not end a night's run; its name and reason are in the report.
        result.status, result.reason = "refused", f"{type(fault).__name__}: {fault}"
    if result.status == "refused":
        result.episode = ""
    result.seconds = round(time.monotonic() - begun, 3)
    return result


def _compare(recording: Recording, target: Path, settings: ConvertSettings, result: Result) -> None:
    """Refuse a recording whose name another one has taken, and note settings that the existing episode was not made with."""
    episode = Episode(target)
    known = episode.metadata
    hashes = known.get("sha256")  # missing in old episodes
    # By suffix: the same files under other names, or in another folder, are the same recording.
    earlier = {Path(name).suffix: digest for name, digest in hashes.items()} if isinstance(hashes, dict) else {}
    # A download whose episode exists is not fetched again: files that are gone have no digest.
    for name, digest in recording.digests() if earlier else ():
        if digest != earlier.get(Path(name).suffix):
            raise UserError(
                "Another recording of this name was converted already.",
                where=target,
                expected=f"an episode made from {recording.video.parent / name}",
                got=f"one made from another file ({known.get('source', 'unknown')})",
                todo="rename this recording, or convert the parent folder of both into a new output folder; "
                "if this one replaces the other, remove the episode first",
            )
    result.status, result.frames = "exists", len(episode)
    changed = _changed_settings(known, settings)
    if recording.kind in _TOLD_BY_FACTS:
        facts = recording.facts()
        changed += [
            f"{key} {known.get(key)} (now {facts.get(key)})" for key in _SAID if facts.get(key) != known.get(key)
        ]
    if recording.options and recording.options != known.get("options", {}):
        changed.append("another -options.json")
    if changed:
        result.notes = [
            f"was converted with {', '.join(map(translated, changed))}; it stays as it is: "
            "use another output folder to have the recording converted with the new settings"
        ]


def _changed_settings(known: dict[str, Any], settings: ConvertSettings) -> list[str]:
    """The settings that differ from the episode's metadata, with both values; what the metadata lacks is no change."""
    pairs: dict[str, tuple[Any, Any]] = {
        name: (known.get(name), now) for name, now in asdict(settings).items() if name != "source_fps"
    }
    # "source_fps" is the video's own rate; "resampled" has the one that conversion used; "named_fps" the setting.
    own = FPS if known.get("source_kind") == "episode" else known.get("source_fps")
    if own is not None:
        used = (known.get("resampled") or {}).get("video_fps", FPS)
        own = used if known.get("named_fps", used) is None else own
        pairs["source_fps"] = (_rate_text(used), _rate_text(settings.source_fps or own))
    return [f"{name} {old} (now {new})" for name, (old, new) in pairs.items() if old not in (None, new)]


def _rate_text(rate: float) -> str:
    # Four digits: the metadata has a rounded value of the video's rate.
    return f"{FPS if abs(rate - FPS) <= FPS_TOLERANCE else rate:.4g}"


def _convert(
    recording: Recording, target: Path, settings: ConvertSettings, result: Result, on_frames: Callable[[int], object]
) -> None:
    ticks, pairing = read_game_ticks(
        recording, settings.camera_rounding, esc_as_inventory=settings.esc_as_inventory, source_fps=settings.source_fps
    )
    result.ticks, notes = len(ticks.actions), pairing.notes + recording.warnings
    if pairing.rates.resampled:
        notes.append(pairing.rates.note)
    keep = np.ones_like(ticks.keep) if settings.keep_nulls else ticks.keep
    if not keep.any():
        what = "The player never acts in this recording: every tick is null."
        raise UserError(what, where=recording.actions_path, todo="add --keep_nulls if standing still is what it shows")
    imitated = None if settings.policy_frames == "imitate" else ticks.imitated
    if imitated is not None and not imitated[keep].any():
        what = "A policy plays this whole recording, and nobody takes over: there is nothing to imitate."
        raise UserError(what, where=recording.actions_path, todo="add --policy_frames imitate if it is to be learned")
    known, source = _provenance(recording, ticks, settings, pairing), recording.episode
    with EpisodeWriter(target, known, keep_mineclip_frames=settings.mineclip_frames) as writer:
        used = 0
        for number, (frame, action) in enumerate(_paired(recording, ticks, pairing, notes)):
            if keep[number]:
                writer.add(frame, action)
            used = number + 1
            if used % 32 == 0:
                on_frames(32)
        on_frames(used % 32)
        if not len(writer):
            raise UserError("The player never acts in this recording before its video ends.", where=recording.video)
        if imitated is not None:
            writer.imitated = imitated[:used][keep[:used]]
            writer.metadata["imitated_frames"] = int(writer.imitated.sum())
        if source is not None:
            _keep_goals(source, writer, used, notes)
        writer.metadata |= {"source_frames": used, "null_frames_dropped": used - len(writer), "notes": notes}
        kept = np.flatnonzero(keep[:used])
        if events := ticks.events_of(kept):
            writer.metadata["events"] = events
        if prompts := prompts_of(known):
            # Of two that begin in frames that were dropped or merged, the later one holds.
            begun = dict(ticks.places_of(prompts, kept))
            writer.metadata["lerobot"] = known["lerobot"] | {"prompts": [list(each) for each in begun.items()]}
        result.frames, result.notes = len(writer), notes


def _keep_goals(source: Episode, writer: EpisodeWriter, used: int, notes: list[str]) -> None:
    """Embeddings of an episode stay valid if no frame is dropped; without them, the metadata names no MineCLIP."""
    if source.has_goals and used == len(writer) == len(source):
        writer.goals = np.asarray(source.goals)
        return
    writer.metadata.pop("mineclip", None)
    if not source.has_goals:
        return
    dropped = f"{used - len(writer)} null frames were dropped: embed it again, or use --keep_nulls"
    why = dropped if used == len(source) else "its frames were resampled: embed it again"
    notes.append(f"its embeddings are left behind, since {why}")


def _paired(
    recording: Recording, ticks: Ticks, pairing: Pairing, notes: list[str]
) -> Iterator[tuple[NDArray[np.uint8], EnvAction]]:
    """Frames with the action taken on each; notes if the video ends before its container says."""
    numbers = pairing.frames[ticks.rows[ticks.rows < len(pairing.frames)]]
    count = 0
    for frame, action, (x, y) in zip(recording.frames(numbers), ticks.actions, ticks.pointer, strict=False):
        if np.isfinite(x) and np.isfinite(y):
            height, width = frame.shape[:2]
            frame = draw_cursor(frame, int(np.clip(x * height, 0, width)), int(np.clip(y * height, 0, height)))
        yield frame, action
        count += 1
    if count < len(numbers):
        notes.append(f"the video breaks off after {count} of {len(numbers)} frames: cut to the shorter")


def _provenance(recording: Recording, ticks: Ticks, settings: ConvertSettings, pairing: Pairing) -> dict[str, Any]:
    options = recording.options
    known: dict[str, Any] = {
        "source": display(recording.video),
        "source_kind": recording.kind,
        "recorder_version": recording.recorder_version or None,
        "keep_nulls": settings.keep_nulls,
        "camera_rounding": settings.camera_rounding,
        "esc_as_inventory": settings.esc_as_inventory,
        "policy_frames": None if ticks.imitated is None else settings.policy_frames,  # alike where no policy plays
        "gui_share": round(float(np.isfinite(ticks.pointer[:, 0]).mean()), 4),
        "named_fps": settings.source_fps or None,
        "tool_version": steve1.__version__,
    }
    if pairing.rates.resampled:
        known["resampled"] = pairing.rates.metadata
    known |= recording.facts()
    known["sha256"] = dict(recording.digests())
    known |= {key: options[key] for key in ("behaviour", "captions") if key in options}
    if isinstance(known.get("captions"), str):  # one caption, as somebody writes it by hand
        known["captions"] = [known["captions"]]
    return known | ({"options": options} if options else {})
