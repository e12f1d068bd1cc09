"""The memory that this process and the game share; its layout is `struct shared` in shim.c."""

from __future__ import annotations

import contextlib
import json
import mmap
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

COMMAND_AT, STATE_AT, PIXELS_AT, MAX_EVENTS = 64 << 10, 128 << 10, 1 << 20, 64
KEY_PRESS, KEY_RELEASE, BUTTON_PRESS, BUTTON_RELEASE, FOCUS_IN = 2, 3, 4, 5, 9

HEADER = np.dtype(
    [(name, "<u4") for name in ("lockstep", "width", "height", "tick_us")]
    + [(name, "<u4") for name in ("n_inputs", "gui_open", "server_steps", "stalls")]
    + [(name, "<u4") for name in ("command_len", "state_len", "state_seq", "grace_us")]
    + [(name, "<i4") for name in ("dx", "dy", "pointer_x", "pointer_y")]
    + [(name, "<f8") for name in ("client_time", "server_time", "lead")]
    + [("inputs", "<i4", (MAX_EVENTS, 2))]
)


class SharedMemory:
    """A memory-mapped file with the header, the two texts and the picture."""

    def __init__(self, path: Path, width: int, height: int, *, tick_us: int = 50_000, grace_us: int = 500) -> None:
        size = PIXELS_AT + width * height * 4
        with open(path, "w+b") as handle:
            handle.truncate(size)
            self._map = mmap.mmap(handle.fileno(), size)
        self.header = np.frombuffer(self._map, HEADER, 1)[0:1].view(np.recarray)
        self._pixels = np.frombuffer(self._map, np.uint8, width * height * 4, PIXELS_AT).reshape(height, width, 4)
        self.header.width, self.header.height = width, height
        self.header.tick_us, self.header.grace_us = tick_us, grace_us

    def get(self, name: str) -> int:
        return int(self.header[name][0])

    def frame(self) -> np.ndarray:
        """The last frame, u8 (H,W,3) RGB, top row first; a copy. (GL's rows go up, and its bytes are BGRA.)"""
        return cv2.flip(cv2.cvtColor(self._pixels, cv2.COLOR_BGRA2RGB), 0)

    def state(self) -> dict[str, Any]:
        """What the mod published last ({} before the player has joined)."""
        for _ in range(200):
            before = self.get("state_seq")
            text = self._map[STATE_AT : STATE_AT + self.get("state_len")]
            if before % 2 == 0 and before == self.get("state_seq"):
                return json.loads(text) if text else {}
            time.sleep(0.0002)
        return {}

    def send(self, command: dict[str, Any]) -> None:
        """Hand a command to the mod, which takes it at its next step."""
        text = json.dumps(command).encode()
        assert len(text) < STATE_AT - COMMAND_AT, "a command does not fit its place in the shared memory"
        self._map[COMMAND_AT : COMMAND_AT + len(text)] = text
        self.header["command_len"][0] = len(text)

    def set_input(self, events: list[tuple[int, int]], dx: int = 0, dy: int = 0) -> None:
        """Keys, buttons (type, code) and pointer motion (pixels) that the game sees at the next tick."""
        for row, event in enumerate(events[:MAX_EVENTS]):
            self.header["inputs"][0, row] = event
        self.header["n_inputs"][0] = min(len(events), MAX_EVENTS)
        self.header["dx"][0], self.header["dy"][0] = dx, dy

    def close(self) -> None:
        del self.header, self._pixels
        with contextlib.suppress(BufferError):  # still viewed; it is freed with the view
            self._map.close()
