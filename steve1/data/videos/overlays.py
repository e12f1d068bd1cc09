"""What lies over the game's picture: watermarks, captions, a facecam.

Input: the grey pictures of a video's frames. Output: boxes of the picture that do not move with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.data.media.motion import SMALL

_CELLS = 16  # on each side
_EACH = SMALL // _CELLS
_MOVED, _CALM = 1.5, 0.3  # pixels of 64 from frame to frame
_FEWEST = 40  # frames in which the picture moves, below which nothing can be said
_TEXTURED = 2.0  # mean step between neighbouring pixels
_LEAST_CELLS = 3  # 1 % of the picture


@dataclass(frozen=True)
class Overlay:
    """A box in shares of the picture (x, y, width, height, each 0 … 1), and whether it moves on its own, as a facecam does."""

    box: tuple[float, float, float, float]
    moves: bool

    @property
    def text(self) -> str:
        """For the report."""
        x, y, w, h = self.box
        what = "a part that moves on its own (a facecam?)" if self.moves else "a part that never moves (a watermark?)"
        return f"{what} covers {w * h:.0%} of the picture, from {x:.0%} of its width and {y:.0%} of its height"


class OverlayFinder:
    """Collects how each of 16x16 cells changes while the picture moves and while it does not."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._moved, self._calm = np.zeros((_CELLS, _CELLS)), np.zeros((_CELLS, _CELLS))
        self._texture = np.zeros((_CELLS, _CELLS))
        self._counts = [0, 0]

    def add(self, grey: NDArray[np.float32], shift: tuple[float, float] | None) -> None:
        """Add the next picture (64, 64), and the shift of the whole picture in pixels from the one before; None after a cut."""
        if self._before is not None and shift is not None:
            size = float(np.hypot(*shift))
            change = _by_cell(np.abs(grey - self._before))
            if size >= _MOVED:
                self._moved += change
                self._texture += _by_cell(np.abs(np.diff(grey, axis=1, append=grey[:, -1:])))
                self._counts[0] += 1
            elif size < _CALM:
                self._calm += change
                self._counts[1] += 1
        self._before = grey

    def find(self) -> list[Overlay]:
        """The overlays, largest first; the hotbar, the crosshair and the hand belong to the game."""
        if self._counts[0] < _FEWEST:
            return []
        moved, texture = self._moved / self._counts[0], self._texture / self._counts[0]
        usual = float(np.median(moved))
        still = (moved < 0.25 * usual) & (texture > _TEXTURED)
        alone = np.zeros_like(still)
        if self._counts[1] >= _FEWEST:
            calm = self._calm / self._counts[1]
            alone = (calm > 2.0) & (calm > 0.5 * moved) & (calm > 4 * np.median(calm))
        game = np.zeros_like(still)
        game[13:, 3:13] = game[7:9, 7:9] = game[8:, 9:] = True
        found = [
            Overlay(box, moves)
            for cells, moves in ((still & ~game, False), (alone & ~game, True))
            for box in _boxes(cells)
        ]
        return sorted(found, key=lambda overlay: -overlay.box[2] * overlay.box[3])


def _by_cell(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    return picture.reshape(_CELLS, _EACH, _CELLS, _EACH).mean(axis=(1, 3), dtype=np.float64)


def _boxes(cells: NDArray[np.bool_]) -> list[tuple[float, float, float, float]]:
    """The boxes around cells that touch one another, in shares of the picture; small groups are left out."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=8)
    return [
        (x / _CELLS, y / _CELLS, w / _CELLS, h / _CELLS)
        for x, y, w, h, area in stats[1:count].tolist()
        if area >= _LEAST_CELLS
    ]
