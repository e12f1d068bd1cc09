"""Resamples recordings that were made at another rate to the game's 20 ticks per second.

Merged ticks: camera movements are summed, buttons or-ed. A tick that lasts longer than one of the game's is repeated, its
movement divided. The frame of a tick is the one shown at its beginning.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steve1 import actions as act
from steve1.actions.buttons import HOTBAR
from steve1.data.media.video import FPS
from steve1.data.recordings.pairing import Pairing, pair
from steve1.data.recordings.recording import Recording, Ticks, whole_degrees

# floor(k * rate / 20) must not miss a whole number by rounding
_EPSILON = 1e-6


def read_game_ticks(
    recording: Recording, camera_rounding: str = "float", *, esc_as_inventory: bool = False, source_fps: float = 0.0
) -> tuple[Ticks, Pairing]:
    """The ticks of a recording at 20 per second, and the frame of each recorded tick.

    Args:
        camera_rounding, esc_as_inventory: as of `Recording.read_ticks`; movements are summed before they are rounded.
        source_fps: the true rate of the recording; 0: as its video says, 20 for a folder of frames.

    Raises:
        UserError: as `Recording.read_ticks` and `pair`.
    """
    ticks = recording.read_ticks(camera_rounding, esc_as_inventory=esc_as_inventory)
    pairing = pair(recording, ticks, source_fps)
    if pairing.rates.ticks == FPS:
        return ticks, pairing
    if camera_rounding != "float":
        ticks = recording.read_ticks("float", esc_as_inventory=esc_as_inventory)
    return resample_ticks(ticks, pairing.rates.ticks, camera_rounding), pairing


def read_noted_ticks(recording: Recording, metadata: dict[str, Any]) -> Ticks:
    """The ticks at 20 per second as conversion read them, by an episode's metadata; the video is not needed."""
    rounding = str(metadata.get("camera_rounding", "float"))
    esc_as_inventory = bool(metadata.get("esc_as_inventory", False))
    rate = float((metadata.get("resampled") or {}).get("tick_rate", FPS))
    if rate == FPS:
        return recording.read_ticks(rounding, esc_as_inventory=esc_as_inventory)
    return resample_ticks(recording.read_ticks(esc_as_inventory=esc_as_inventory), rate, rounding)


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
        whole_degrees(actions)
    keep = ~act.is_null(*act.to_joint(actions))
    imitated = None if ticks.imitated is None else ticks.imitated[rows]
    return replace(
        ticks,
        actions=actions,
        keep=keep,
        pointer=ticks.pointer[rows],
        rows=ticks.rows[rows],
        numbers=None,
        milli=None,
        imitated=imitated,
    )


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
