"""Measures an episode in one pass over its frames; whether it is suspicious is decided in `suspects.py`.

Input: an episode in any format.
Output: counts, shares, thumbnails and a contact sheet; for an episode that cannot be read, the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import jpeg_bytes
from steve1.core.messages import message
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import FIRST_GOAL
from steve1.data.media.motion import LAGS, STILL, Motion, following, grey_of, turned_frames

#: frames of a contact sheet
SHEET_FRAMES = 10
#: frames between thumbnails of 8x8 grey pixels
THUMB_STEP = 10
#: mean grey level below which a frame is black
BLACK = 6.0


@dataclass
class Goals:
    """Statistics of an episode's embeddings.

    Attributes:
        mean_norm: mean length of the rows.
        drift: cosine distance between the mean of the first and of the last quarter.
        bad_rows: rows after the first 15 that are not finite.
        norms: at most 120 lengths over time, for a curve.
    """

    mean_norm: float = 0.0
    drift: float = 0.0
    bad_rows: int = 0
    norms: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass
class Measures:
    """One episode; shares are of its frames, 0 to 1."""

    path: Path
    fault: str = ""
    frames: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    pressed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(act.BUTTONS), np.int64))
    camera: NDArray[np.int64] = field(default_factory=lambda: np.zeros((act.N_BINS, act.N_BINS), np.int64))
    null_share: float = 0.0
    gui_share: float | None = None
    #: longest press of each button: (frames, first frame)
    holds: dict[str, tuple[int, int]] = field(default_factory=dict)
    brightness: float = 0.0
    black_share: float = 0.0
    #: longest run of frames that do not change at all: (frames, first frame)
    still_run: tuple[int, int] = (0, 0)
    #: textured frames in which the camera moved, in which it turned sideways, and in which it turned and the frame did not
    #: change
    moving: int = 0
    turning: int = 0
    frozen: int = 0
    #: correlation of image motion with camera motion by lag in frames (NaN where nothing moved)
    follow: NDArray[np.float64] = field(default_factory=lambda: np.full(len(LAGS), np.nan))
    goals: Goals | None = None
    thumbs: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 64), np.uint8))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    sheet: bytes = b""
    sheet_frames: list[tuple[int, str]] = field(default_factory=list)
    roll: bytes = b""
    roll_names: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


def measure(path: Path) -> Measures:
    """Measure one episode."""
    found = Measures(path)
    try:
        episode = Episode(path)
        found.frames, found.metadata = len(episode), episode.metadata
        share = episode.metadata.get("gui_share")
        found.gui_share = float(share) if isinstance(share, (int, float)) else None
        actions = episode.actions()
        if len(actions) != len(episode):
            raise UserError("The actions do not fit the frames.", expected=len(episode), got=len(actions))
        _measure_actions(found, actions)
        _measure_frames(found, episode, actions)
        found.goals = _measure_goals(episode.goals) if episode.has_goals else None
    except UserError as fault:
        found.fault = " ".join(filter(None, [fault.what, f"({fault.where})" if fault.where else "", fault.got]))
    return found


def _measure_actions(found: Measures, actions: list[act.EnvAction]) -> None:
    buttons, degrees = act.actions_to_arrays(actions)
    button_class, camera_class = act.arrays_to_joint(buttons, degrees)
    found.tokens = button_class * act.N_CAMERA + camera_class
    found.pressed = buttons.sum(axis=0, dtype=np.int64)
    bins = act.to_bins(degrees)
    np.add.at(found.camera, (bins[:, 0], bins[:, 1]), 1)
    found.null_share = float(act.is_null(button_class, camera_class).mean())
    for column, name in enumerate(act.BUTTONS):
        found.holds[name] = longest_run(buttons[:, column] != 0)
    found.roll, found.roll_names = _roll(buttons, degrees)


def longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """(length, start) of the longest run of True in (N,) bool; (0, 0) without one."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    return max(zip(lengths.tolist(), edges[::2].tolist()), key=lambda run: run[0], default=(0, 0))


def _roll(buttons: NDArray[np.uint8], degrees: NDArray[np.float64]) -> tuple[bytes, list[str]]:
    """A PNG of the buttons over time, and its rows' names: one for each button used, two for the camera."""
    used = np.flatnonzero(buttons.any(axis=0))
    step = max(1, math.ceil(len(buttons) / 600))
    columns = -(-len(buttons) // step)
    rows = np.zeros((len(used) + 2, columns * step), np.float32)
    rows[:-2, : len(buttons)] = buttons.T[used]
    rows[-2:, : len(buttons)] = np.minimum(np.abs(degrees.T) / 10, 1)
    shares = rows.reshape(len(rows), columns, step).max(axis=2)
    picture = np.full((len(rows), columns, 3), (243, 245, 247), np.float32)
    ink = np.array([(168, 108, 60)] * len(used) + [(60, 110, 190)] * 2, np.float32)  # blue, green, red
    picture += (ink[:, None] - picture) * shares[..., None]
    names = [*(act.BUTTONS[n] for n in used), "pitch", "yaw"]
    return cv2.imencode(".png", picture.astype(np.uint8))[1].tobytes(), names


def _measure_frames(found: Measures, episode: Episode, actions: list[act.EnvAction]) -> None:
    count, motion = len(episode), Motion()
    chosen = sorted({round(n) for n in np.linspace(0, count - 1, SHEET_FRAMES)})
    sheet: list[NDArray[np.uint8]] = []
    thumbs: list[NDArray[np.uint8]] = []
    for number, frame in enumerate(episode.format.agent_frames()):
        grey = grey_of(frame)
        motion.add(grey)
        if number % THUMB_STEP == 0:
            thumbs.append(cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA).reshape(-1))  # type: ignore[arg-type]
        if number in chosen:
            sheet.append(frame.copy())
    found.thumbs = np.stack(thumbs)
    gap = np.full((len(sheet[0]), 3, 3), 255, np.uint8)
    strip = np.concatenate([part for frame in sheet for part in (frame, gap)][:-1], axis=1)
    found.sheet = jpeg_bytes(strip, 78)
    found.sheet_frames = [(number, action_text(actions[number])) for number in chosen]
    found.brightness, found.black_share = float(motion.light.mean()), float((motion.light < BLACK).mean())
    _measure_motion(found, np.array([action["camera"] for action in actions], np.float64), motion)


def action_text(action: act.EnvAction) -> str:
    """The pressed buttons and the camera of one action, short."""
    parts = [name.replace("hotbar.", "hotbar ") for name in act.ENV_BUTTONS if action.get(name)]
    pitch, yaw = (float(value) for value in action["camera"])
    if abs(pitch) >= 0.05 or abs(yaw) >= 0.05:
        parts.append(message("turn", pitch=f"{pitch:+.1f}", yaw=f"{yaw:+.1f}"))
    return ", ".join(parts) or message("no button")


def _measure_motion(found: Measures, camera: NDArray[np.float64], motion: Motion) -> None:
    still = motion.change[1:] < STILL
    found.still_run = longest_run(still)
    turned = turned_frames(camera, motion.texture)
    found.moving = int(turned.any(axis=1).sum())
    found.turning = int(turned[:, 1].sum())
    found.frozen = int((turned[:, 1] & still).sum())
    if found.moving >= 10:
        found.follow = following(camera, motion.shift)


def _measure_goals(goals: NDArray[np.floating[Any]]) -> Goals:
    rows = np.asarray(goals[FIRST_GOAL:], np.float32)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    bad = int((~finite).sum())
    rows = rows[finite]
    if not len(rows):
        return Goals(bad_rows=bad)
    norms = np.linalg.norm(rows, axis=1)
    unit = rows / np.maximum(norms, 1e-12)[:, None]
    quarter = max(1, len(unit) // 4)
    first, last = unit[:quarter].mean(axis=0), unit[-quarter:].mean(axis=0)
    drift = 1 - first @ last / max(float(np.linalg.norm(first) * np.linalg.norm(last)), 1e-12)
    picked = norms[np.unique(np.linspace(0, len(norms) - 1, 120).round().astype(int))]
    return Goals(float(norms.mean()), float(drift), bad, picked.astype(np.float32))
