"""Contractor recordings: ticks of a recorder's jsonl → MineRL actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.actions.buttons import EnvAction, null_action
from steve1.actions.joint import is_null, to_joint
from steve1.core.errors import UserError

DEGREES_PER_PIXEL = 360.0 / 2400.0
MOST_DEGREES = 1e6  # per tick; more is a broken number
CAMERA_ROUNDINGS = ("float", "legacy_int")

KEYS: dict[str, str] = {
    "key.keyboard.w": "forward",
    "key.keyboard.s": "back",
    "key.keyboard.a": "left",
    "key.keyboard.d": "right",
    "key.keyboard.space": "jump",
    "key.keyboard.left.shift": "sneak",
    "key.keyboard.left.control": "sprint",
    "key.keyboard.q": "drop",
    "key.keyboard.e": "inventory",
    "key.keyboard.f": "swapHands",
    "key.keyboard.escape": "ESC",
    **{f"key.keyboard.{slot}": f"hotbar.{slot}" for slot in range(1, 10)},
}
_OTHER_KEYS = """
apostrophe backslash backspace caps.lock comma delete down end enter equal escape grave.accent home insert keypad.add keypad.decimal
keypad.divide keypad.enter keypad.equal keypad.multiply keypad.subtract left left.alt left.bracket left.control left.shift left.win menu
minus num.lock page.down page.up pause period print.screen right right.alt right.bracket right.control right.shift right.win scroll.lock
semicolon slash space tab unknown up world.1 world.2
"""
#: every key that Minecraft has a name for; any other name is another recorder's
MINECRAFT_KEYS = frozenset(
    f"key.keyboard.{name}"
    for name in (
        *"abcdefghijklmnopqrstuvwxyz0123456789",
        *(f"f{number}" for number in range(1, 26)),
        *(f"keypad.{number}" for number in range(10)),
        *_OTHER_KEYS.split(),
    )
)
MOUSE: dict[int, str] = {0: "attack", 1: "use", 2: "pickItem"}
#: the other way round: the key, or the mouse's button, of a MineRL button
KEY_OF = {name: key for key, name in KEYS.items()}
MOUSE_OF = {name: button for button, name in MOUSE.items()}

# Recorders that wrote the mouse in another scale while a screen (inventory, chest) was open.
GUI_SCALE: dict[str, float] = {"5.7": 0.5, "5.8": 0.5, "6.7": 2.0, "6.8": 2.0, "6.9": 2.0}


def to_contractor(action: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A MineRL action as tick `number` of a recording whose game is not known: keys and mouse alone.

    There is no `hotbar` (the slot is not known, and its changes would be pressed a second time), no `isGuiOpen` (a second pointer would be
    drawn), and no `newButtons`, of which the first tick's may mean a stuck attack.
    """
    pitch, yaw = (float(value) / DEGREES_PER_PIXEL for value in action["camera"])
    return {
        "mouse": {"dx": yaw, "dy": pitch, "buttons": [MOUSE_OF[name] for name in MOUSE_OF if action.get(name)]},
        "keyboard": {"keys": [KEY_OF[name] for name in KEY_OF if action.get(name)]},
        "tick": number,
    }


def from_contractor(
    ticks: Iterable[Mapping[str, Any]],
    camera_rounding: str = "float",
    *,
    recorder_version: str = "",
    esc_as_inventory: bool = False,
    may_stick: bool = True,
) -> tuple[list[EnvAction], NDArray[np.bool_]]:
    """MineRL actions of recorded ticks, and keep (N,) bool: False for null actions.

    Args:
        ticks: parsed lines, in order.
        camera_rounding: "float", or "legacy_int" to truncate movements to whole degrees, as for the published weights' labels.
        recorder_version: such as "6.8"; selects the mouse scale while a screen is open (see GUI_SCALE). "": no correction.
        esc_as_inventory: ESC with a screen open becomes `inventory`, the key by which the policy itself can close one.
        may_stick: an attack that is new at the first tick is the recorder's fault, and does not count until it is pressed again.

    Raises:
        UserError: a tick lacks a field, or it has the wrong type.
    """
    if camera_rounding not in CAMERA_ROUNDINGS:
        raise UserError("unknown camera rounding", expected=" or ".join(CAMERA_ROUNDINGS), got=str(camera_rounding))
    gui_scale = GUI_SCALE.get(recorder_version, 1.0)
    actions: list[EnvAction] = []
    stuck_attack = False
    last_slot = 0
    for number, tick in enumerate(ticks):
        try:
            mouse = tick["mouse"]
            new_buttons = list(mouse.get("newButtons", []))
            if number == 0:
                stuck_attack = may_stick and new_buttons == [0]
            elif stuck_attack and 0 in new_buttons:
                stuck_attack = False
            action = _pressed(tick, mouse)
            if stuck_attack:
                action["attack"] = 0
            gui_open = bool(tick.get("isGuiOpen", False))
            if esc_as_inventory and gui_open and action["ESC"]:
                action["ESC"], action["inventory"] = 0, 1
            action["camera"] = _camera(mouse, gui_scale if gui_open else 1.0, camera_rounding)
            slot = int(tick.get("hotbar", last_slot))
            if slot != last_slot:
                if not 0 <= slot <= 8:
                    raise ValueError(f"hotbar {slot} is not one of 0..8")
                action[f"hotbar.{slot + 1}"] = 1
                last_slot = slot
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                "a recorded tick cannot be read",
                where=f"tick {number}",
                expected="mouse{dx, dy, buttons, newButtons}, keyboard{keys} and hotbar 0..8",
                got=f"{type(error).__name__}: {error}",
            ) from error
        actions.append(action)
    return actions, ~is_null(*to_joint(actions))


def _pressed(tick: Mapping[str, Any], mouse: Mapping[str, Any]) -> EnvAction:
    action = null_action()
    names = [KEYS.get(key) for key in tick["keyboard"]["keys"]] + [MOUSE.get(button) for button in mouse["buttons"]]
    action.update({name: 1 for name in names if name is not None})
    return action


def _camera(mouse: Mapping[str, Any], scale: float, rounding: str) -> list[float]:
    movement = [mouse["dy"] * scale * DEGREES_PER_PIXEL, mouse["dx"] * scale * DEGREES_PER_PIXEL]
    # written so that NaN is refused too
    if not (abs(movement[0]) <= MOST_DEGREES and abs(movement[1]) <= MOST_DEGREES):
        raise ValueError(f"mouse movement {mouse['dx']}, {mouse['dy']}")
    return [float(int(value) if rounding == "legacy_int" else value) for value in movement]
