"""What happens to a game's picture before the networks see it: resizing, and drawing the mouse pointer.

Input: RGB uint8 frames of any size. Output: RGB uint8 at the policy's and at MineCLIP's size. Conversion, training, embedding
and acting all call these functions, so that the policy never sees other pixels than it was trained on.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError

AGENT_SIZE = (128, 128)
MINECLIP_SIZE = (160, 256)

_POINTER = (
    "X...............", "XX..............", "XoX.............", "XooX............", "XoooX...........", "XooooX..........",
    "XoooooX.........", "XooooooX........", "XoooooooX.......", "XooooooooX......", "XoooooXXXXX.....", "XooXooX.........",
    "XoX.XooX........", "XX..XooX........", "X....XooX.......", "......XX........",
)  # fmt: skip
_INK = np.array([[{".": 0, "X": 1, "o": 2}[c] for c in row] for row in _POINTER], np.uint8)


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """A picture file as uint8 (H, W, 3) RGB; None where it is no picture. OpenCV itself opens no path that is not UTF-8."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None  # type: ignore[return-value]


def write_picture(path: Path, frame: NDArray[np.uint8]) -> None:
    """Write a uint8 (H, W, 3) RGB frame in the format that the path's ending names."""
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes())


def jpeg_bytes(frame: NDArray[np.uint8], quality: int = 80) -> bytes:
    """A uint8 (H, W, 3) RGB frame as a JPEG for people to look at: 1.3 ms and 32 KB for a game's 640x360."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings)[1])


def _resize(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(
            "A frame has the wrong form.", expected="uint8 (H, W, 3) RGB", got=f"{frame.dtype} {frame.shape}"
        )
    if frame.shape[:2] == size:
        return frame
    # Without antialiasing: the published weights were trained on exactly this; an antialiased resize is off by up to 88 levels.
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def agent_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB → (128, 128, 3) uint8 RGB, bilinear as VPT's agent does it."""
    return _resize(frame, AGENT_SIZE)


def mineclip_frame(frame: NDArray[np.uint8], resolution: tuple[int, int] = MINECLIP_SIZE) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB → (*resolution, 3) uint8 RGB.

    A resolution other than the published 160x256 is reached through it, by the mean over the pixels that fall together, so that
    stored frames and live ones look the same.
    """
    if frame.shape[:2] != resolution or resolution == MINECLIP_SIZE:
        frame = _resize(frame, MINECLIP_SIZE)
    if frame.shape[:2] == resolution:
        return frame
    return cv2.resize(frame, resolution[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def draw_cursor(frame: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
    """Draw a white 16x16 arrow with a black edge whose tip is at (x, y), in place; parts outside the frame are cut off.

    Neither recorders nor games draw the pointer of an open menu into their pictures.

    Args:
        frame: u8 (H, W, 3).
        x, y: column and row of the tip; moved to the nearest pixel of the frame where they lie outside.
    """
    height, width = frame.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    patch = frame[y : y + 16, x : x + 16]
    ink = _INK[: patch.shape[0], : patch.shape[1]]
    patch[ink == 1] = 0
    patch[ink == 2] = 255
    return frame
