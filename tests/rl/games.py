"""A stand-in game that pays for one key, so that learning can be seen in seconds and is the same to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from steve1.envs.interface import GameDied


class KeyGame:
    """Pays 1 for each step with `attack` and without `forward`; the picture depends on the start alone.

    `die_at`: steps since opening at which it dies, each once over all games that share `deaths`.
    """

    def __init__(self, die_at: tuple[int, ...] = (), deaths: list[int] | None = None) -> None:
        self.die_at, self.steps, self.deaths = die_at, 0, [] if deaths is None else deaths

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        start = (options or {}).get("start") or {}
        shade = int(start.get("shade", 100))
        self.frame = np.full((128, 128, 3), shade, np.uint8)
        self.number, self.dirt = 0, 0
        return self._state()

    def _state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        place = {"xpos": 0.0, "ypos": 9.0, "zpos": 0.0, "pitch": 0.0, "yaw": 0.0}
        obs = {"pov": self.frame, "inventory": {"dirt": self.dirt}, "location_stats": place, "is_gui_open": False}
        return obs, {"dug": {"dirt": self.dirt}, "placed": {}, "crafted": {}, "in_water": False, "health": 20.0}

    def step(self, action: dict[str, Any]) -> Any:
        self.steps += 1
        if self.steps in self.die_at and self.steps not in self.deaths:
            self.deaths.append(self.steps)
            raise GameDied("The game ended.", where="stand-in")
        paid = float(bool(action["attack"]) and not action["forward"])
        self.number += 1
        self.dirt += int(paid)
        obs, info = self._state()
        return obs, paid, False, False, info

    def close(self) -> None:
        pass


class OpenKeyGame:
    """Opens it in whichever process."""

    def __init__(self, die_at: tuple[int, ...] = ()) -> None:
        self.die_at = die_at
        self.deaths: list[int] = []

    def __call__(self, instance: int) -> KeyGame:
        return KeyGame(self.die_at, self.deaths)
