"""What a person at the page does between two ticks, as one MineRL action for each tick.

Input: the keys and mouse buttons that are down, those that went down since the last message, and how far the mouse moved. Arrow keys
turn like a mouse.
Output: an action whose camera is a whole number of mouse pixels; the fraction, and what is too much for one tick, is kept for the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from steve1 import actions
from steve1.actions.contractor import DEGREES_PER_PIXEL
from steve1.envs.interface import Action

# Names as browsers give them: of a key by its place on the keyboard (KeyboardEvent.code), of a mouse button by its number.
BUTTONS: dict[str, str] = {
    "KeyW": "forward", "KeyS": "back", "KeyA": "left", "KeyD": "right", "Space": "jump", "ShiftLeft": "sneak",
    "KeyR": "sprint", "KeyQ": "drop", "KeyE": "inventory", "KeyF": "swapHands", "KeyC": "attack", "KeyV": "use",
    **{f"Digit{slot}": f"hotbar.{slot}" for slot in range(1, 10)},
    "Mouse0": "attack", "Mouse1": "pickItem", "Mouse2": "use",
}  # fmt: skip
#: keys that turn the camera, by so many mouse pixels to the right and down at each tick: 60 degrees a second
TURN_PIXELS = 20
TURNS = {
    "ArrowLeft": (-TURN_PIXELS, 0),
    "ArrowRight": (TURN_PIXELS, 0),
    "ArrowUp": (0, -TURN_PIXELS),
    "ArrowDown": (0, TURN_PIXELS),
}
#: half a turn, the most that an action can say
MOST_PIXELS = 1200
#: without a message for this long, whatever was down counts as let go: the page sends one four times a second while a key is down
STALE_S = 1.0


class PersonInput:
    """Filled by the page's thread, read once a tick by the game's.

    Args:
        now: the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._heard = now()
        self._clear()

    def _clear(self) -> None:
        self._down: frozenset[str] = frozenset()
        self._pressed: set[str] = set()
        self._dx = self._dy = 0.0
        self._wheel = 0

    def update(self, down: Collection[str], pressed: Collection[str], dx: float, dy: float, wheel: int) -> None:
        """One message.

        Args:
            down: everything that is down now, in place of what was.
            pressed: what went down since the last message; it counts for a tick even if it is up again.
            dx, dy: mouse pixels to the right and down.
            wheel: notches, positive towards the next slot.
        """
        with self._lock:
            self._heard = self._now()
            self._down = frozenset(down)
            self._pressed |= set(pressed)
            self._dx, self._dy, self._wheel = self._dx + dx, self._dy + dy, self._wheel + wheel

    def release(self) -> None:
        """Release all buttons and drop pending mouse movement."""
        with self._lock:
            self._clear()

    def take(self, slot: int = 0, slots: int = 9) -> Action:
        """The action of this tick.

        Args:
            slot: the selected one, from 0, where the wheel starts.
            slots: how many there are.
        """
        with self._lock:
            if self._now() - self._heard > STALE_S:
                self._down = frozenset()
            held = self._down | self._pressed
            names = {BUTTONS[name] for name in held if name in BUTTONS}
            for name in held & TURNS.keys():
                self._dx, self._dy = self._dx + TURNS[name][0], self._dy + TURNS[name][1]
            dx, dy = (int(min(max(round(way), -MOST_PIXELS), MOST_PIXELS)) for way in (self._dx, self._dy))
            self._dx, self._dy = self._dx - dx, self._dy - dy
            if self._wheel and not any(name.startswith("hotbar.") for name in names):
                names.add(f"hotbar.{(slot + self._wheel) % slots + 1}")
            self._wheel = 0
            self._pressed = set()
        action = actions.null_action()
        action.update(dict.fromkeys(names, 1))
        action["camera"] = [dy * DEGREES_PER_PIXEL, dx * DEGREES_PER_PIXEL]
        return action
