"""Names of buttons: what a MineRL action holds and what the policy chooses from.

Comes in: nothing. Goes out: the two orders of button names and the empty action.
A MineRL (or "env") action is a dict: every name of ENV_BUTTONS -> 0 or 1, and "camera" -> [pitch, yaw] in degrees per tick.
"""

from __future__ import annotations

from typing import Any

EnvAction = dict[str, Any]

HOTBAR: list[str] = [f"hotbar.{slot}" for slot in range(1, 10)]

# The order of the policy's factored buttons is part of the published label space.
BUTTONS: list[str] = [
    "attack", "back", "forward", "jump", "left", "right", "sneak", "sprint", "use", "drop", "inventory", *HOTBAR,
]  # fmt: skip

ENV_BUTTONS: list[str] = [
    "ESC", "attack", "back", "drop", "forward", *HOTBAR, "inventory", "jump", "left", "pickItem", "right",
    "sneak", "sprint", "swapHands", "use",
]  # fmt: skip

_NULL_BUTTONS: EnvAction = dict.fromkeys(ENV_BUTTONS, 0)


def null_action() -> EnvAction:
    """A fresh MineRL action with nothing pressed and the camera still."""
    action = dict(_NULL_BUTTONS)
    action["camera"] = [0.0, 0.0]
    return action
