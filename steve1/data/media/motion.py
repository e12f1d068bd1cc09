"""How much, and which way, the picture moves from frame to frame; and whether that follows the camera.

Input: agent frames u8 (128, 128, 3), one after the other. Output: arrays with a number for each frame.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

#: side of the grey pictures that motion is measured on
SMALL = 64
#: the upper part of a picture, which the hand and the hotbar do not cover
UPPER = SMALL * 3 // 5
#: mean step between neighbouring grey pixels below which a frame (a plain sky) hardly shows that the camera turns
PLAIN = 1.2
#: mean grey difference below which a frame has not changed
STILL = 0.3
#: half of the smallest camera bin, in degrees: the least movement that the policy can make
LEAST_TURN = 0.31
LAGS = range(-20, 21)


def grey_of(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey picture u8 (64, 64) of an agent frame."""
    return cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (SMALL, SMALL), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class Motion:
    """Collects the motion of N frames.

    Attributes:
        grey: the last frame, float32 (64, 64); None before the first.
    """

    def __init__(self) -> None:
        self.grey: NDArray[np.float32] | None = None
        self._window = cv2.createHanningWindow((SMALL, SMALL), cv2.CV_32F)
        self._light: list[float] = []
        self._texture: list[float] = []
        self._change: list[float] = []
        self._shift: list[tuple[float, float]] = []

    def add(self, grey: NDArray[np.uint8]) -> None:
        """Measure the next frame, a grey picture u8 (64, 64)."""
        now = grey.astype(np.float32)
        self._light.append(float(now.mean()))
        # The upper part only: the hand and the hotbar below do not move.
        self._texture.append(float(np.abs(np.diff(now[:UPPER], axis=1)).mean()))
        if self.grey is not None:
            self._shift.append(self.shift_to(now))
            self._change.append(float(np.abs(now - self.grey).mean()))
        self.grey = now

    def shift_to(self, now: NDArray[np.float32]) -> tuple[float, float]:
        """The shift (x, y) in pixels from the last frame to this one, by phase correlation."""
        assert self.grey is not None
        # OpenCV applies the window in place, hence the copies.
        found = cv2.phaseCorrelate(self.grey.copy(), now.copy(), self._window)[0]
        return float(found[0]), float(found[1])

    def __len__(self) -> int:
        return len(self._light)

    @property
    def last_shift(self) -> tuple[float, float] | None:
        """The shift to the last frame; None before the second."""
        return self._shift[-1] if self._shift else None

    @property
    def light(self) -> NDArray[np.float64]:
        """Mean grey level (N,)."""
        return np.asarray(self._light)

    @property
    def texture(self) -> NDArray[np.float64]:
        """Mean step between neighbouring pixels of the upper part (N,)."""
        return np.asarray(self._texture)

    @property
    def change(self) -> NDArray[np.float64]:
        """Mean difference from the frame before (N,); 0 for the first."""
        return np.asarray([0.0, *self._change][: len(self)])

    @property
    def shift(self) -> NDArray[np.float64]:
        """Pixels (x, y) from frame i to frame i+1, (N-1, 2)."""
        return np.asarray(self._shift, np.float64).reshape(-1, 2)


def turned_frames(camera: NDArray[np.float64], texture: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the camera moves by pitch and by yaw, (N-1, 2), in frames that show it.

    A plain frame shows no movement, and neither does a camera that points straight up or down and is pushed further.

    Args:
        camera: degrees (N, 2), pitch and yaw.
        texture: of `Motion`, (N,).
    """
    return (np.abs(camera[:-1]) > LEAST_TURN) & (texture[:-1] > PLAIN)[:, None]


def following(camera: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of the picture's motion with the camera's by lag in frames: (41,) for -20 … 20; NaN where nothing moved.

    Args:
        camera: degrees (N, 2), pitch and yaw; or (N, 1), one of them.
        shift: pixels (N-1, 2) as of `Motion`; or (N-1, 1), the same axis.
    """
    # Turning right moves the image left, looking down moves it up.
    turn, seen = np.clip(camera[:-1, ::-1], -10, 10), -np.clip(shift, -16, 16)
    found = np.full(len(LAGS), np.nan)
    for row, lag in enumerate(LAGS):
        count = len(turn) - abs(lag)
        if count < 30:
            continue
        given, got = turn[max(0, -lag) :][:count], seen[max(0, lag) :][:count]
        given, got = given - given.mean(axis=0), got - got.mean(axis=0)
        scale = math.sqrt(float((given**2).sum()) * float((got**2).sum()))
        if scale > 0:
            found[row] = (given * got).sum() / scale
    return found
