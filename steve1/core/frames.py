"""The one transform from a game's picture to what the networks see.

In: RGB uint8 frames of any size. Out: RGB uint8 at the policy's and at MineCLIP's size. Training, embedding and
acting all call these two functions, so that the policy never sees other pixels than it was trained on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError

AGENT_SIZE = (128, 128)
MINECLIP_SIZE = (160, 256)


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


def mineclip_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB → (160, 256, 3) uint8 RGB."""
    return _resize(frame, MINECLIP_SIZE)
