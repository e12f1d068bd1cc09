"""The mouse pointer that no game draws into its picture.

In: a frame and the pointer's place while a menu is open. Out: the same frame with a 16x16 arrow on it.
"""

from __future__ import annotations

import numpy as np

_ROWS = (
    "X...............", "XX..............", "XoX.............", "XooX............", "XoooX...........", "XooooX..........",
    "XoooooX.........", "XooooooX........", "XoooooooX.......", "XooooooooX......", "XoooooXXXXX.....", "XooXooX.........",
    "XoX.XooX........", "XX..XooX........", "X....XooX.......", "......XX........",
)  # fmt: skip
_INK = np.array([[{".": 0, "X": 1, "o": 2}[c] for c in row] for row in _ROWS], np.uint8)


def draw_cursor(frame: np.ndarray, x: int, y: int) -> np.ndarray:
    """Draw a white arrow with a black edge whose tip is at (x, y), in place; parts outside the frame are cut off.

    Args:
        frame: u8 (H,W,3).
    """
    height, width = frame.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    patch = frame[y : y + 16, x : x + 16]
    ink = _INK[: patch.shape[0], : patch.shape[1]]
    patch[ink == 1] = 0
    patch[ink == 2] = 255
    return frame
