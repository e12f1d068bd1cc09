"""Names of buttons, in a MineRL action's order and in the policy's.

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


def null_action() -> EnvAction:
    """A fresh MineRL action with nothing pressed and the camera still."""
    return {**dict.fromkeys(ENV_BUTTONS, 0), "camera": [0.0, 0.0]}
