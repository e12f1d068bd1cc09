"""A player that does anything, for the training of an inverse dynamics model: what counts is that movements vary, not that they achieve something."""

from __future__ import annotations

import numpy as np

from steve1.rollout.players.player import SIZES, Player, Script

# How often each button is in a random set of keys. Keys that open screens are left out: what they do is not seen in the view.
_CHANCES = {
    "forward": 0.45, "back": 0.12, "left": 0.14, "right": 0.14, "jump": 0.22, "sneak": 0.08, "sprint": 0.12, "attack": 0.3, "use": 0.12,
}  # fmt: skip
_SHORTEST, _LONGEST = 6, 60  # ticks (0.3 to 3 s) for which keys are held; the camera changes up to three times in it
_STILL = 0.5
# Degrees of pitch beyond which the camera turns back: at the very end it would stop and show nothing.
_LEVEL, _DOWN, _UP = (-55.0, 55.0), (52.0, 80.0), (-80.0, -52.0)
_LOOKS_DOWN = 0.8  # of the sets of keys of a steep player
_SLOT, _DROP = 0.35, 0.03  # of a press of one tick, for each set of keys


class Babble(Player):
    """For 0.3 to 3 s at a time a random set of keys, and a camera movement drawn evenly over its bins, half of the time none."""

    def behave(self) -> Script:
        while True:
            lowest, highest = self.bounds()
            yield from self.aim(min(max(self.pitch, lowest), highest), within=3.0)
            buttons = {name: 1 for name, chance in _CHANCES.items() if self.rng.random() < chance}
            left = int(self.rng.integers(_SHORTEST, _LONGEST + 1))
            once = self.pressed_once()
            while left > 0:
                ticks = min(left, int(self.rng.integers(_SHORTEST // 2, _LONGEST // 3)))
                camera = self.movement()
                for _ in range(ticks):
                    beyond = self.pitch > highest if camera[0] > 0 else self.pitch < lowest
                    if beyond:
                        camera[0] = -camera[0]
                    yield {**buttons, **once, "camera": list(camera)}
                    once = {}
                left -= ticks

    def bounds(self) -> tuple[float, float]:
        """Between which degrees of pitch the camera moves while these keys are held."""
        return _LEVEL

    def pressed_once(self) -> dict[str, int]:
        """A slot or a drop, pressed for one tick."""
        found = {f"hotbar.{int(self.rng.integers(1, 10))}": 1} if self.rng.random() < _SLOT else {}
        return found | ({"drop": 1} if self.rng.random() < _DROP else {})

    def movement(self) -> list[float]:
        """Pitch and yaw of one tick."""
        if self.rng.random() < _STILL:
            return [0.0, 0.0]
        sizes = np.concatenate([-SIZES[:0:-1], SIZES])
        return [float(self.rng.choice(sizes)) for _ in range(2)]


class BabbleSteep(Babble):
    """Looks steeply down, now and then steeply up: there a turn rotates the picture, and builders and diggers look there most of the time."""

    def bounds(self) -> tuple[float, float]:
        return _DOWN if self.rng.random() < _LOOKS_DOWN else _UP
