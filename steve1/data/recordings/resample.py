"""Resamples recordings that were made at another rate to the game's 20 ticks per second.

Merged ticks: camera movements are summed, buttons or-ed. A tick that lasts longer than one of the game's is repeated, its
movement divided. The frame of a tick is the one shown at its beginning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from steve1 import actions as act
from steve1.actions.buttons import HOTBAR
from steve1.core.errors import UserError
from steve1.data.media.video import FPS
from steve1.data.recordings.recording import Recording, Ticks

#: distance from 20 frames per second that still counts as 20
FPS_TOLERANCE = 0.1
#: slower recordings show too little of what happens; faster ones are not of a game
SLOWEST, FASTEST = 5.0, 480.0
#: seconds that a frame may be early or late where frames are counted
_UNEVEN = 0.1
# floor(k * rate / 20) must not miss a whole number by rounding
_EPSILON = 1e-6

T = TypeVar("T")


@dataclass(frozen=True)
class Rates:
    """Frames and ticks of a recording per second; exactly 20 if nothing is resampled."""

    video: float = float(FPS)
    ticks: float = float(FPS)

    @property
    def resampled(self) -> bool:
        """Whether either differs from the game's."""
        return self != Rates()

    @property
    def note(self) -> dict[str, Any]:
        """For the metadata."""
        how = "ticks as they are"
        if self.ticks > FPS:
            how = "camera movements of merged ticks summed, buttons or-ed, the last slot chosen"
        elif self.ticks < FPS:
            how = "ticks held, their camera movement divided"
        return {"video_fps": self.video, "tick_rate": self.ticks, "to": FPS, "actions": how}


def read_game_ticks(
    recording: Recording, camera_rounding: str = "float", *, esc_as_inventory: bool = False, source_fps: float = 0.0
) -> tuple[Ticks, Rates]:
    """The ticks of a recording at 20 per second, and the rates that it was made at.

    Args:
        camera_rounding, esc_as_inventory: as of `Recording.read_ticks`; movements are summed before they are rounded.
        source_fps: the true rate of the recording; 0: as its video says, 20 for a folder of frames.

    Raises:
        UserError: as `Recording.read_ticks` and `rates_of`.
    """
    ticks = recording.read_ticks(camera_rounding, esc_as_inventory=esc_as_inventory)
    rates = rates_of(recording, source_fps, len(ticks.actions))
    if rates.ticks == FPS:
        return ticks, rates
    if camera_rounding != "float":
        ticks = recording.read_ticks("float", esc_as_inventory=esc_as_inventory)
    return resample_ticks(ticks, rates.ticks, camera_rounding), rates


def read_noted_ticks(recording: Recording, metadata: dict[str, Any]) -> Ticks:
    """The ticks at 20 per second as conversion read them, by an episode's metadata; the video is not needed."""
    rounding = str(metadata.get("camera_rounding", "float"))
    esc_as_inventory = bool(metadata.get("esc_as_inventory", False))
    rate = float((metadata.get("resampled") or {}).get("tick_rate", FPS))
    if rate == FPS:
        return recording.read_ticks(rounding, esc_as_inventory=esc_as_inventory)
    return resample_ticks(recording.read_ticks(esc_as_inventory=esc_as_inventory), rate, rounding)


def rates_of(recording: Recording, source_fps: float, n_ticks: int) -> Rates:
    """The rates that a recording was made at.

    Args:
        source_fps: its true rate; 0: as its video says, 20 for a folder of frames.
        n_ticks: their number shows whether there is one per frame or 20 per second.

    Raises:
        UserError: a rate that cannot be resampled, or ticks that fit neither.
    """
    rate, n_frames = recording.timing(n_ticks, source_fps)
    if abs(rate - FPS) <= FPS_TOLERANCE:
        return Rates()
    if not SLOWEST <= rate <= FASTEST:
        raise UserError(
            "This frame rate cannot be turned into the game's 20 a second.",
            where=recording.video,
            expected=f"{SLOWEST:g} to {FASTEST:g} frames/s",
            got=f"{rate:g}",
            todo="name the real rate with --source_fps if the file's is wrong",
        )
    at_game_rate = n_frames * FPS / rate
    off = min(abs(n_ticks - n_frames), abs(n_ticks - at_game_rate))
    if off > max(5, 0.02 * n_ticks):
        raise UserError(
            "These ticks fit neither the video's frames nor its duration.",
            where=recording.actions_path,
            expected=f"{n_frames} ticks (one a frame) or {at_game_rate:.0f} (20 a second) for a video of {rate:g} frames/s",
            got=f"{n_ticks} ticks",
        )
    return Rates(rate, rate if abs(n_ticks - n_frames) == off else float(FPS))


def check_even(worst_seconds: float, counts_differ: bool, path: object) -> str:
    """Check that frames can be paired with ticks by number; returns a note about uneven frames, or "".

    Args:
        worst_seconds: the largest distance of a frame from a constant rate.
        counts_differ: whether the numbers of frames and ticks differ.

    Raises:
        UserError: numbers do not show which frame belongs to which tick.
    """
    if worst_seconds <= _UNEVEN:
        return ""
    if counts_differ:
        raise UserError(
            "This video has no constant frame rate, so its frames cannot be paired with ticks.",
            where=path,
            expected=f"frames within {_UNEVEN:g} s of their place",
            got=f"{worst_seconds:.2f} s off",
            todo="make it constant first: ffmpeg -i IN.mp4 -vf fps=20 OUT.mp4",
        )
    return f"frames come up to {worst_seconds:.2f} s off an even pace; paired one to one with as many ticks"


def at_game_rate(frames: Iterable[T], rate: float) -> Iterator[T]:
    """The frames shown every 1/20 s, of frames at `rate` per second; those of a slow recording repeat."""
    wanted = 0
    for number, frame in enumerate(frames):
        while int(wanted * rate / FPS + _EPSILON) == number:
            yield frame
            wanted += 1


def resample_ticks(ticks: Ticks, rate: float, camera_rounding: str = "float") -> Ticks:
    """Ticks at `rate` per second as ticks at 20; tick k begins with recorded tick floor(k * rate / 20).

    The sum of the camera movements stays the same.
    """
    count = int(np.ceil(len(ticks.actions) * FPS / rate - _EPSILON))
    edges = [min(int(k * rate / FPS + _EPSILON), len(ticks.actions)) for k in range(count + 1)]
    edges[-1] = len(ticks.actions)
    rows = np.asarray(edges[:-1], np.int64)
    held = np.bincount(rows, minlength=len(ticks.actions))
    actions: list[act.EnvAction] = []
    for start, stop in itertools.pairwise(edges):
        if stop > start + 1:
            actions.append(merged(ticks.actions[start:stop]))
        else:
            action, parts = ticks.actions[start], max(1, int(held[start]))
            actions.append({**action, "camera": [float(value) / parts for value in action["camera"]]})
    if camera_rounding == "legacy_int":
        for action in actions:
            action["camera"] = [float(int(value)) for value in action["camera"]]
    keep = ~act.is_null(*act.to_joint(actions))
    return Ticks(actions, keep, ticks.pointer[rows], ticks.notes, ticks.rows[rows])


def merged(actions: Sequence[act.EnvAction]) -> act.EnvAction:
    """One action for several in a row: movements summed, buttons or-ed, the last chosen slot."""
    found = act.null_action()
    pitch, yaw = 0.0, 0.0
    for action in actions:
        pitch, yaw = pitch + float(action["camera"][0]), yaw + float(action["camera"][1])
        if any(action.get(name) for name in HOTBAR):
            found.update(dict.fromkeys(HOTBAR, 0))
        for name in act.ENV_BUTTONS:
            if action.get(name):
                found[name] = 1
    found["camera"] = [pitch, yaw]
    return found
