"""A game that does nothing, for measuring what the protocol costs: one ready picture, an inventory of ordinary size."""

from __future__ import annotations

from typing import Any

import numpy as np

from steve1.envs.worker.serve import Game, Step


class Null(Game):
    """See the module."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.frame = np.full((settings["height"], settings["width"], 3), 7, np.uint8)
        self.steps = 0

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.steps = 0
        return self._seen()

    def step(self, action: dict[str, Any]) -> Step:
        self.steps += 1
        obs, info = self._seen()
        return obs, 0.0, False, False, info

    def _seen(self) -> tuple[dict[str, Any], dict[str, Any]]:
        place = {"xpos": 12.25, "ypos": 64.0, "zpos": -3.5 - self.steps * 0.2, "pitch": 10.0, "yaw": -90.0}
        items = {f"item_{number}": number + 1 for number in range(20)}
        obs = {"pov": self.frame, "inventory": items, "location_stats": place, "is_gui_open": False, "hotbar": 0}
        return obs, {"dug": {"dirt": self.steps}, "placed": {}, "crafted": {}, "health": 20.0, "game_tick": self.steps}


def make_env(settings: dict[str, Any]) -> Null:
    """What the worker serves."""
    return Null(settings)
