"""Measures an episode in one pass over its frames; whether it is suspicious is decided in `suspects.py`.

Input: an episode in any format.
Output: counts, shares, thumbnails and a contact sheet; for an episode that cannot be read, the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import FIRST_GOAL

#: side of the grey pictures that motion is measured on
_SMALL = 64
#: frames of a contact sheet
SHEET_FRAMES = 10
#: frames between thumbnails of 8x8 grey pixels
THUMB_STEP = 10
#: mean grey level below which a frame is black; mean difference below which a frame has not changed
BLACK, STILL = 6.0, 0.3
#: mean step between neighbouring grey pixels below which a frame (a plain sky) hardly shows that the camera turns
_PLAIN = 1.2
LAGS = range(-20, 21)


@dataclass
class Goals:
    """Statistics of an episode's embeddings.

    Attributes:
        size: E.
        mean_norm, least_norm, largest_norm: lengths of the rows.
        step: mean cosine distance between rows 16 frames apart.
        drift: cosine distance between the mean of the first and of the last quarter.
        bad_rows: rows after the first 15 that are not finite.
        norms: at most 120 lengths over time, for a curve.
        mean: (E,) mean direction.
    """

    size: int
    mean_norm: float
    least_norm: float
    largest_norm: float
    step: float
    drift: float
    bad_rows: int
    norms: NDArray[np.float32]
    mean: NDArray[np.float32]


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
    still_share: float = 0.0
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

    @property
    def hours(self) -> float:
        """Playing time."""
        return self.frames / 72000

    @property
    def hotbar(self) -> NDArray[np.int64]:
        """Presses of hotbar.1 … hotbar.9."""
        return self.pressed[act.BUTTONS.index("hotbar.1") :]


def measure(path: Path, on_frames: Callable[[int], Any] = lambda count: None) -> Measures:
    """Measure one episode; `on_frames` is called with the number of frames read since the last call."""
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
        _measure_frames(found, episode, actions, on_frames)
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
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    best = int(lengths.argmax())
    return int(lengths[best]), int(edges[::2][best])


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
    return _encoded(".png", picture.astype(np.uint8)), [*(act.BUTTONS[n] for n in used), "pitch", "yaw"]


def _encoded(kind: str, picture: NDArray[np.uint8], settings: list[int] | None = None) -> bytes:
    good, data = cv2.imencode(kind, picture, settings or [])
    assert good
    return data.tobytes()


def _measure_frames(
    found: Measures, episode: Episode, actions: list[act.EnvAction], on_frames: Callable[[int], Any]
) -> None:
    count = len(episode)
    shift = np.zeros((max(count - 1, 0), 2))
    change, texture, light = np.zeros(count), np.zeros(count), np.zeros(count)
    chosen = sorted({round(n) for n in np.linspace(0, count - 1, SHEET_FRAMES)})
    sheet: list[NDArray[np.uint8]] = []
    thumbs: list[NDArray[np.uint8]] = []
    window = cv2.createHanningWindow((_SMALL, _SMALL), cv2.CV_32F)
    before: NDArray[np.float32] | None = None
    for start in range(0, count, 64):
        piece = episode.frames(start, min(start + 64, count))
        for number, frame in enumerate(piece, start):
            grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
            now = grey.astype(np.float32)
            light[number] = now.mean()
            # The upper part only: the hand and the hotbar below do not move.
            texture[number] = np.abs(np.diff(now[: _SMALL * 3 // 5], axis=1)).mean()
            if before is not None:
                # OpenCV applies the window in place, hence the copies.
                shift[number - 1] = cv2.phaseCorrelate(before.copy(), now.copy(), window)[0]
                change[number] = np.abs(now - before).mean()
            if number % THUMB_STEP == 0:
                thumbs.append(cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA).reshape(-1))  # type: ignore[arg-type]
            if number in chosen:
                sheet.append(frame.copy())
            before = now
        on_frames(len(piece))
    found.thumbs = np.stack(thumbs)
    gap = np.full((len(sheet[0]), 3, 3), 255, np.uint8)
    strip = np.concatenate([part for frame in sheet for part in (frame, gap)][:-1], axis=1)
    found.sheet = _encoded(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 78])  # type: ignore[arg-type]  # fmt: skip
    found.sheet_frames = [(number, action_text(actions[number])) for number in chosen]
    found.brightness, found.black_share = float(light.mean()), float((light < BLACK).mean())
    _measure_motion(found, np.array([action["camera"] for action in actions], np.float64), shift, change, texture)


def action_text(action: act.EnvAction) -> str:
    """The pressed buttons and the camera of one action, short."""
    parts = [name.replace("hotbar.", "hotbar ") for name in act.ENV_BUTTONS if action.get(name)]
    pitch, yaw = (float(value) for value in action["camera"])
    if abs(pitch) >= 0.05 or abs(yaw) >= 0.05:
        parts.append(f"camera {pitch:+.1f} {yaw:+.1f}")
    return ", ".join(parts) or "nothing"


def _measure_motion(
    found: Measures,
    camera: NDArray[np.float64],
    shift: NDArray[np.float64],
    change: NDArray[np.float64],
    texture: NDArray[np.float64],
) -> None:
    """Image motion: change[i] from frame i-1 to i, shift[i] from i to i+1 in pixels (x, y)."""
    still = change[1:] < STILL
    found.still_share = float(still.mean()) if len(still) else 0.0
    found.still_run = longest_run(still)
    # Half a bin is the least movement that the policy can make; a plain frame shows none, and neither does a camera that
    # points straight up or down and is pushed further.
    textured = texture[:-1] > _PLAIN
    turned = np.abs(camera[:-1]) > 0.31
    found.moving = int((turned.any(axis=1) & textured).sum())
    found.turning = int((turned[:, 1] & textured).sum())
    found.frozen = int((turned[:, 1] & textured & still).sum())
    if found.moving < 10:
        return
    # Turning right moves the image left, looking down moves it up.
    turn = np.clip(camera[:-1, ::-1], -10, 10)
    seen = -np.clip(shift, -16, 16)
    for row, lag in enumerate(LAGS):
        count = len(turn) - abs(lag)
        if count < 30:
            continue
        given = turn[max(0, -lag) :][:count]
        got = seen[max(0, lag) :][:count]
        found.follow[row] = _correlation(given - given.mean(axis=0), got - got.mean(axis=0))


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    scale = math.sqrt(float((one**2).sum()) * float((other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else float("nan")


def _measure_goals(goals: NDArray[np.floating[Any]]) -> Goals:
    rows = np.asarray(goals[FIRST_GOAL:], np.float32)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    bad = int((~finite).sum())
    rows = rows[finite]
    if not len(rows):
        empty = np.zeros(0, np.float32)
        return Goals(goals.shape[1], 0, 0, 0, 0, 0, bad, empty, np.zeros(goals.shape[1], np.float32))
    norms = np.linalg.norm(rows, axis=1)
    unit = rows / np.maximum(norms, 1e-12)[:, None]
    quarter = max(1, len(unit) // 4)
    ends = [unit[:quarter].mean(axis=0), unit[-quarter:].mean(axis=0)]
    steps = 1 - (unit[:-16] * unit[16:]).sum(axis=1) if len(unit) > 16 else np.zeros(1)
    picked = norms[np.unique(np.linspace(0, len(norms) - 1, 120).round().astype(int))]
    return Goals(
        goals.shape[1],
        float(norms.mean()),
        float(norms.min()),
        float(norms.max()),
        float(steps.mean()),
        float(1 - ends[0] @ ends[1] / max(float(np.linalg.norm(ends[0]) * np.linalg.norm(ends[1])), 1e-12)),
        bad,
        picked.astype(np.float32),
        unit.mean(axis=0),
    )
