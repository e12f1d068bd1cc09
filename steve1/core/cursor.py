"""The mouse pointer that no recorder and no game draws into its picture.

In: a frame and the pointer's place while a menu is open. Out: the same frame with a 16x16 arrow on it. Conversion and
the games both draw it with this function, so that training and acting see the same pointer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = (
    "X...............", "XX..............", "XoX.............", "XooX............", "XoooX...........", "XooooX..........",
    "XoooooX.........", "XooooooX........", "XoooooooX.......", "XooooooooX......", "XoooooXXXXX.....", "XooXooX.........",
    "XoX.XooX........", "XX..XooX........", "X....XooX.......", "......XX........",
)  # fmt: skip
_INK = np.array([[{".": 0, "X": 1, "o": 2}[c] for c in row] for row in _ROWS], np.uint8)


def draw_cursor(frame: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
    """Draw a white arrow with a black edge whose tip is at (x, y) pixels, in place; parts outside the frame are cut off.

    Args:
        frame: u8 (H,W,3).
        x, y: column and row of the tip; moved to the nearest pixel of the frame where they lie outside.
    """
    height, width = frame.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    patch = frame[y : y + 16, x : x + 16]
    ink = _INK[: patch.shape[0], : patch.shape[1]]
    patch[ink == 1] = 0
    patch[ink == 2] = 255
    return frame
