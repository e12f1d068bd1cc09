"""Frames as MineCLIP sees them: any game frame → uint8 at the tower's resolution.

The way is the same for recordings and for live frames: first the published 160x256, then, for smaller towers only,
the mean over the pixels that fall together.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.frames import mineclip_frame


def prepare_frame(frame: NDArray[np.uint8], resolution: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame, uint8 (H,W,3) → uint8 (*resolution,3)."""
    if frame.shape[:2] != resolution or resolution == (160, 256):
        frame = mineclip_frame(frame)
    if frame.shape[:2] == resolution:
        return frame
    return cv2.resize(frame, (resolution[1], resolution[0]), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
