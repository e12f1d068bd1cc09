"""Other rates: recordings that were not made at the game's 20 ticks a second.

In: ticks or frames at some rate. Out: what they are at 20. Of several ticks within one, camera movements are summed and
buttons or-ed; a tick that lasts longer than one is held, its movement divided. A frame is the one shown at that moment.
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
from steve1.data.media.video import FPS, probe
from steve1.data.recordings.recording import Recording, Ticks, read_ticks

#: frames a second that still count as 20
FPS_TOLERANCE = 0.1
#: slower recordings leave too little to see between two pictures; faster ones are no game's
SLOWEST, FASTEST = 5.0, 480.0
#: seconds by which a frame may come too early or too late where frames are counted
_UNEVEN = 0.1
# floor(k * rate / 20) must not fall below a whole number that it only misses by rounding
_EPSILON = 1e-6

T = TypeVar("T")


@dataclass(frozen=True)
class Rates:
    """Of a recording, a second: `video` frames and `ticks`; exactly 20 where nothing is resampled."""

    video: float = float(FPS)
    ticks: float = float(FPS)

    @property
    def resampled(self) -> bool:
        """Whether anything is other than the game's."""
        return self != Rates()

    @property
    def note(self) -> dict[str, Any]:
        """For the metadata."""
        if self.ticks > FPS:
            how = "camera movements of merged ticks summed, buttons or-ed, the last slot chosen"
        else:
            how = "ticks held, their camera movement divided" if self.ticks < FPS else "ticks as they are"
        return {"video_fps": self.video, "tick_rate": self.ticks, "to": FPS, "actions": how}


def read_game_ticks(
    recording: Recording, camera_rounding: str = "float", *, esc_as_inventory: bool = False, source_fps: float = 0.0
) -> tuple[Ticks, Rates]:
    """The ticks of a recording at 20 a second, and at which rates it was made.

    Args:
        recording: see there.
        camera_rounding, esc_as_inventory: as `read_ticks` takes them; movements are summed before they are rounded.
        source_fps: what the recording was really made at; 0: as its video says, 20 for a folder of frames.

    Raises:
        UserError: what `read_ticks` raises; or a rate that cannot be resampled, or a number of ticks that fits neither
            the frames nor the game's 20 a second.
    """
    ticks = read_ticks(recording, camera_rounding, esc_as_inventory=esc_as_inventory)
    rates = rates_of(recording, source_fps, len(ticks.actions))
    if rates.ticks == FPS:
        return ticks, rates
    if camera_rounding != "float":
        ticks = read_ticks(recording, "float", esc_as_inventory=esc_as_inventory)
    return resample_ticks(ticks, rates.ticks, camera_rounding), rates


def read_noted_ticks(recording: Recording, metadata: dict[str, Any]) -> Ticks:
    """The ticks at 20 a second as an episode's metadata says that conversion read them; the video need not be there."""
    rounding = str(metadata.get("camera_rounding", "float"))
    esc_as_inventory = bool(metadata.get("esc_as_inventory", False))
    rate = float((metadata.get("resampled") or {}).get("tick_rate", FPS))
    if rate == FPS:
        return read_ticks(recording, rounding, esc_as_inventory=esc_as_inventory)
    return resample_ticks(read_ticks(recording, esc_as_inventory=esc_as_inventory), rate, rounding)


def rates_of(recording: Recording, source_fps: float, n_ticks: int) -> Rates:
    """At which rates a recording of so many ticks was made.

    Args:
        recording: see there.
        source_fps: what it was really made at; 0: as its video says, 20 for a folder of frames.
        n_ticks: how many it has; they tell whether there is one a frame or 20 a second.

    Raises:
        UserError: a rate that cannot be resampled, or ticks that fit neither.
    """
    if recording.ticks is None:
        rate = source_fps or float(FPS)
        n_frames = n_ticks
    else:
        info = probe(recording.video)
        rate = source_fps or info.fps
        n_frames = info.frames or round(info.seconds * (info.fps or rate))
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
            where=recording.ticks or recording.video,
            expected=f"{n_frames} ticks (one a frame) or {at_game_rate:.0f} (20 a second) for a video of {rate:g} frames/s",
            got=f"{n_ticks} ticks",
        )
    return Rates(rate, rate if abs(n_ticks - n_frames) == off else float(FPS))


def check_even(worst_seconds: float, counts_differ: bool, path: object) -> str:
    """What a video's uneven frames mean for pairing by number: "" nothing, or a note.

    Args:
        worst_seconds: by how much a frame came too early or too late.
        counts_differ: whether there are other than as many frames as ticks.

    Raises:
        UserError: numbers say nothing about which frame belongs to which tick.
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
    """Of frames at `rate` a second those that are shown every 1/20 s; a slow recording's come several times."""
    wanted = 0
    for number, frame in enumerate(frames):
        while int(wanted * rate / FPS + _EPSILON) == number:
            yield frame
            wanted += 1


def resample_ticks(ticks: Ticks, rate: float, camera_rounding: str = "float") -> Ticks:
    """Ticks at `rate` a second as ticks at 20; tick k begins with recorded tick floor(k * rate / 20).

    All movement is kept: the sum over the camera is what it was.
    """
    count = int(np.ceil(len(ticks.actions) * FPS / rate - _EPSILON))
    edges = [min(int(k * rate / FPS + _EPSILON), len(ticks.actions)) for k in range(count + 1)]
    edges[-1] = len(ticks.actions)
    rows = np.asarray(edges[:-1], np.int64)
    held = np.bincount(rows, minlength=len(ticks.actions))
    actions = []
    for start, stop in itertools.pairwise(edges):
        if stop > start + 1:
            actions.append(merged(ticks.actions[start:stop]))
        else:
            actions.append(_part(ticks.actions[start], int(held[start])))
    if camera_rounding == "legacy_int":
        for action in actions:
            action["camera"] = [float(int(value)) for value in action["camera"]]
    keep = ~act.is_null(*act.to_joint(actions))
    return Ticks(actions, keep, ticks.pointer[rows], ticks.notes, ticks.rows[rows])


def merged(actions: Sequence[act.EnvAction]) -> act.EnvAction:
    """One action for several in a row: movements summed, buttons or-ed; of slots chosen in turn the last one counts."""
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


def _part(action: act.EnvAction, parts: int) -> act.EnvAction:
    camera = [float(value) / max(1, parts) for value in action["camera"]]
    return {**action, "camera": camera}
