"""What every game looks like from outside: MineRL's actions in, MineRL-like observations out.

An action is a dict of buttons (0/1) and "camera" ([pitch, yaw] degrees). Only plain data crosses, so that a game can live in another process.
"""

from __future__ import annotations

import abc
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces

from steve1.actions import ENV_BUTTONS
from steve1.core.errors import UserError

Observation = dict[str, Any]
Info = dict[str, Any]
Action = dict[str, Any]
Degrees = TypeVar("Degrees", float, np.ndarray)
FPS = 20


class GameDied(UserError):
    """The game's process ended or hangs. The environment is closed; `Env.restart()` starts a fresh game."""


def wrap(degrees: Degrees) -> Degrees:
    """The same direction within [-180, 180), as yaw is given."""
    return (degrees + 180.0) % 360.0 - 180.0


def action_space() -> spaces.Dict:
    """MineRL 1.0's action space."""
    buttons: dict[str, spaces.Space[Any]] = {name: spaces.Discrete(2) for name in ENV_BUTTONS}
    return spaces.Dict({**buttons, "camera": spaces.Box(-180.0, 180.0, (2,), np.float32)})


def check_action(action: Action) -> tuple[set[str], float, float]:
    """(names of the pressed buttons, pitch degrees, yaw degrees) of a MineRL action; absent buttons are up.

    Raises:
        UserError: an unknown key, or a camera that is not two finite numbers.
    """
    unknown = sorted(set(action) - {"camera", *ENV_BUTTONS})
    if unknown:
        raise UserError("The action has a key that MineRL does not.", got=unknown[0], expected=", ".join(ENV_BUTTONS))
    camera = np.asarray(action.get("camera", (0.0, 0.0)), dtype=np.float64).ravel()
    if camera.shape != (2,) or not np.isfinite(camera).all():
        raise UserError("The action's camera is not two finite numbers.", got=action.get("camera"))
    pitch, yaw = np.clip(camera, -180.0, 180.0)
    return {name for name in ENV_BUTTONS if int(action.get(name, 0))}, float(pitch), float(yaw)


class Env(gymnasium.Env[Observation, Action], abc.ABC):
    """One game. Observations are dicts:

    pov: u8 (360,640,3) RGB. inventory: {short item name: count}.
    location_stats: xpos, ypos, zpos (nodes, y up), yaw (degrees clockwise from +z, [-180,180)), pitch (degrees, down is
    positive), light_level. is_gui_open: bool. hotbar: selected slot from 0.
    Info: dug, placed, crafted (counts since the reset), in_water, health, start, step, and what the game adds.
    One step is one tick of 50 ms of game time, however long it takes here.
    """

    draw_pointer = True
    """False gives pictures as a recorder makes them, without the arrow in menus."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": FPS}  # noqa: RUF012

    @abc.abstractmethod
    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start an episode; the same seed and options give the same start state, view and inventory."""

    @abc.abstractmethod
    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        """Play one tick. terminated: the player died. Raises GameDied when the game does not answer."""

    @abc.abstractmethod
    def restart(self) -> None:
        """End the game if it still runs, and start a fresh one; `reset` comes next."""
