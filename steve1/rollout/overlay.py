"""Draws prompt, step, pressed buttons and camera movement onto a frame, for people; the policy never sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.rollout.text import Colour, blend, darken, draw_text, fit_text, text_mask

# Label, MineRL button, column, row, width; a column and a row are one key-cap wide and high.
_BUTTONS: tuple[tuple[str, str, float, float, float], ...] = (
    ("W", "forward", 1.5, 0, 1),
    ("E", "inventory", 2.6, 0, 1),
    ("Q", "drop", 0.4, 0, 1),
    ("A", "left", 0.4, 1.1, 1),
    ("S", "back", 1.5, 1.1, 1),
    ("D", "right", 2.6, 1.1, 1),
    ("shift", "sneak", 4.0, 0, 1.9),
    ("ctrl", "sprint", 4.0, 1.1, 1.9),
    ("space", "jump", 6.0, 1.1, 3.0),
    ("LMB", "attack", 6.0, 0, 1.45),
    ("RMB", "use", 7.55, 0, 1.45),
)
_PRESSED: Colour = (255, 214, 64)
_RESTING: Colour = (60, 60, 60)
_CAP = 20
_CAMERA_FULL_DEGREES = 10.0


def _cap(label: str, width: int, pressed: bool) -> NDArray[np.uint8]:
    """One key-cap as RGB."""
    cap = np.full((_CAP, width, 3), _PRESSED if pressed else _RESTING, dtype=np.uint8)
    cv2.rectangle(cap, (0, 0), (width - 1, _CAP - 1), (20, 20, 20) if pressed else (130, 130, 130), 1)
    mask = text_mask(label, 11)
    ink: Colour = (20, 20, 20) if pressed else (200, 200, 200)
    blend(cap, mask, (width - mask.shape[1]) // 2, (_CAP - mask.shape[0]) // 2, ink)
    return cap


class Overlay:
    """Draws one player's overlay; everything that does not change from step to step is drawn once, here."""

    def __init__(self, prompt: str, steps: int, *, title: str = "") -> None:
        """`prompt`: in any language. `steps`: planned length, 0 if unknown. `title`: e.g. the weights' name."""
        self.prompt, self.steps, self.title = prompt, steps, title
        self._caps = {
            (button, pressed): _cap(label, int(_CAP * width), pressed)
            for label, button, _, _, width in _BUTTONS
            for pressed in (False, True)
        }

    def draw(self, frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> NDArray[np.uint8]:
        """A copy of `frame` (H, W, 3) u8 RGB, H ≥ 100 and W ≥ 320, with the overlay of `action` at `step` (from 0)."""
        picture = np.ascontiguousarray(frame).copy()
        self._header(picture, step)
        self._buttons(picture, action)
        self._camera(picture, action)
        return picture

    def _header(self, picture: NDArray[np.uint8], step: int) -> None:
        width = picture.shape[1]
        darken(picture, 0, 0, width, 26)
        counter = f"{step + 1}/{self.steps}" if self.steps else f"{step + 1}"
        counter_width = text_mask(counter, 14).shape[1]
        text = f"{self.title}:  {self.prompt}" if self.title else self.prompt
        draw_text(picture, fit_text(text, 16, width - counter_width - 24), 8, 2, 16)
        draw_text(picture, counter, width - counter_width - 8, 4, 14, (220, 220, 220))

    def _buttons(self, picture: NDArray[np.uint8], action: Mapping[str, Any]) -> None:
        top = picture.shape[0] - int(2.3 * _CAP)
        for _, button, column, row, _ in _BUTTONS:
            cap = self._caps[button, bool(action.get(button, 0))]
            x, y = int(column * _CAP), top + int(row * _CAP)
            region = picture[y : y + cap.shape[0], x : x + cap.shape[1]]
            region[:] = cap[:, : region.shape[1]]
        slots = [n for n in range(1, 10) if action.get(f"hotbar.{n}", 0)]
        if slots:
            # One row up: to the right begin the game's own hearts and slots.
            x, y = int(8.0 * _CAP), top - int(1.1 * _CAP)
            picture[y : y + _CAP, x : x + _CAP] = _cap(str(slots[0]), _CAP, True)

    def _camera(self, picture: NDArray[np.uint8], action: Mapping[str, Any]) -> None:
        pitch, yaw = (float(value) for value in action.get("camera", (0.0, 0.0)))
        radius = 20
        centre = (picture.shape[1] - radius - 8, picture.shape[0] - radius - 6)
        darken(picture, centre[0] - radius, centre[1] - radius, 2 * radius, 2 * radius, 0.6)
        cv2.circle(picture, centre, radius, (130, 130, 130), 1, cv2.LINE_AA)
        length = math.hypot(pitch, yaw)
        if length < 1e-3:
            cv2.circle(picture, centre, 2, (200, 200, 200), -1)
            return
        # Square root: the small movements, which are most of them, stay visible beside the largest.
        reach = radius * math.sqrt(min(length, _CAMERA_FULL_DEGREES) / _CAMERA_FULL_DEGREES) / length
        tip = (round(centre[0] + yaw * reach), round(centre[1] + pitch * reach))
        cv2.arrowedLine(picture, centre, tip, _PRESSED, 2, cv2.LINE_AA, tipLength=0.35)
