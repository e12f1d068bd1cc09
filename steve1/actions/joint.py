"""Joint classes: the label space of the policy's two heads.

MineRL actions (dicts), or arrays of pressed buttons and camera degrees, become one button class (0..8640) and one camera class
(0..120) per tick, and back. Both ways work on whole arrays: a few additions one way, table look-ups the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steve1.actions.buttons import BUTTONS, ENV_BUTTONS, HOTBAR, EnvAction, null_action
from steve1.actions.camera import N_BINS, NULL_BIN, to_bins, to_degrees
from steve1.core.errors import UserError

# One choice (or none, which is choice 0) of each group; numbered with the last group fastest.
GROUPS: list[list[str]] = [
    HOTBAR, ["forward", "back"], ["left", "right"], ["sprint", "sneak"], ["use"], ["drop"], ["attack"], ["jump"], ["camera"],
]  # fmt: skip
# Opposites pressed together cancel; in every other group the later name wins.
_CANCELLING = {"forward", "left"}

_SIZES = [len(group) + 1 for group in GROUPS]
INVENTORY = int(np.prod(_SIZES))
N_BUTTONS = INVENTORY + 1
N_CAMERA = N_BINS * N_BINS
NULL_CAMERA = NULL_BIN * N_BINS + NULL_BIN
NULL_BUTTONS = 0

_COLUMN = {name: column for column, name in enumerate(BUTTONS)}
_INVENTORY_COLUMN = _COLUMN["inventory"]
_pick_buttons = itemgetter(*BUTTONS)


def _decode_tables() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Table of pressed buttons (8641, 20) and of "the camera moves" (8641,) per button class."""
    pressed = np.zeros((N_BUTTONS, len(BUTTONS)), np.uint8)
    moves = np.zeros(N_BUTTONS, np.bool_)
    choices = np.stack(np.unravel_index(np.arange(INVENTORY), _SIZES), axis=1)
    for group, choice in zip(GROUPS, choices.T, strict=True):
        if group == ["camera"]:
            moves[:INVENTORY] = choice == 1
            continue
        for number, name in enumerate(group, start=1):
            pressed[:INVENTORY, _COLUMN[name]] = choice == number
    pressed[INVENTORY, _INVENTORY_COLUMN] = 1
    moves[INVENTORY] = True  # inventory keeps whatever camera class came with it
    return pressed, moves


PRESSED, CAMERA_MOVES = _decode_tables()
CAMERA_DEGREES: NDArray[np.float64] = to_degrees(np.stack(np.divmod(np.arange(N_CAMERA), N_BINS), axis=1))


def _group_choice(group: list[str], pressed: NDArray[np.bool_]) -> NDArray[np.int64]:
    columns = [pressed[:, _COLUMN[name]] for name in group]
    choice = np.zeros(len(pressed), np.int64)
    for number, column in enumerate(columns, start=1):
        choice[column] = number
    if group[0] in _CANCELLING:
        choice[columns[0] & columns[1]] = 0
    return choice


def arrays_to_joint(buttons: ArrayLike, camera: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Joint classes of whole arrays.

    buttons: (N, 20) of 0/1 (any integer or boolean type) in the order of BUTTONS; camera: (N, 2) float degrees [pitch, yaw].
    Returns button classes (N,) i64 in 0..8640 and camera classes (N,) i64 in 0..120.
    """
    pressed = np.asarray(buttons) != 0
    degrees = np.asarray(camera, dtype=np.float64)
    if pressed.ndim != 2 or pressed.shape[1] != len(BUTTONS) or degrees.shape != (len(pressed), 2):
        raise UserError(
            "buttons and camera do not describe the same ticks",
            expected=f"buttons (N, {len(BUTTONS)}) and camera (N, 2)",
            got=f"buttons {pressed.shape} and camera {degrees.shape}",
        )
    if not np.isfinite(degrees).all():
        row = int((~np.isfinite(degrees)).any(axis=1).argmax())
        raise UserError("a camera movement is not a number", where=f"tick {row}", got=str(degrees[row].tolist()))
    bins = to_bins(degrees)
    camera_class = bins[:, 0] * N_BINS + bins[:, 1]
    button_class = np.zeros(len(pressed), np.int64)
    for group, size in zip(GROUPS, _SIZES, strict=True):
        choice = (
            (camera_class != NULL_CAMERA).astype(np.int64) if group == ["camera"] else _group_choice(group, pressed)
        )
        button_class = button_class * size + choice
    inventory = pressed[:, _INVENTORY_COLUMN]
    button_class[inventory] = INVENTORY
    camera_class[inventory] = NULL_CAMERA
    return button_class, camera_class


def joint_to_arrays(buttons: ArrayLike, camera: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pressed buttons (N, 20) u8 and camera bins (N, 2) i64 [pitch, yaw] of joint classes (N,) and (N,)."""
    button_class, camera_class = _checked_classes(buttons, camera)
    camera_class = np.where(CAMERA_MOVES[button_class], camera_class, NULL_CAMERA)
    return PRESSED[button_class], np.stack(np.divmod(camera_class, N_BINS), axis=1)


def _checked_classes(buttons: ArrayLike, camera: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    button_class = np.atleast_1d(np.asarray(buttons, dtype=np.int64))
    camera_class = np.atleast_1d(np.asarray(camera, dtype=np.int64))
    if button_class.ndim != 1 or button_class.shape != camera_class.shape:
        raise UserError(
            "joint classes come as two arrays of one length",
            expected="buttons (N,) and camera (N,)",
            got=f"{button_class.shape} and {camera_class.shape}",
        )
    for name, values, size in (("button", button_class, N_BUTTONS), ("camera", camera_class, N_CAMERA)):
        outside = (values < 0) | (values >= size)
        if outside.any():
            row = int(outside.argmax())
            raise UserError(
                f"unknown {name} class", where=f"tick {row}", expected=f"0..{size - 1}", got=str(values[row])
            )
    return button_class, camera_class


def actions_to_arrays(actions: Sequence[EnvAction]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Pressed policy buttons (N, 20) u8 and camera (N, 2) f64 degrees of MineRL actions.

    A button that an action does not name is not pressed; a missing camera does not move.
    """
    try:
        rows: list[Any] = [_pick_buttons(action) for action in actions]
        camera = [action["camera"] for action in actions]
    except KeyError:
        rows = [[action.get(name, 0) for name in BUTTONS] for action in actions]
        camera = [action.get("camera", (0.0, 0.0)) for action in actions]
    try:
        buttons = (np.array(rows, dtype=np.int64).reshape(len(actions), len(BUTTONS)) != 0).astype(np.uint8)
        degrees = np.array(camera, dtype=np.float64).reshape(len(actions), 2)
    except (TypeError, ValueError) as error:
        raise UserError(
            "an action is not a MineRL action",
            expected='0 or 1 for each button and "camera": [pitch, yaw] in degrees',
            got=str(error),
        ) from error
    return buttons, degrees


def to_joint(actions: Sequence[EnvAction]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Button classes (N,) i64 and camera classes (N,) i64 of a list of MineRL actions."""
    return arrays_to_joint(*actions_to_arrays(actions))


def to_env(buttons: ArrayLike, camera: ArrayLike) -> list[EnvAction]:
    """MineRL actions (each a fresh dict, camera a list of two floats in degrees) of joint classes (N,) and (N,)."""
    classes = _checked_classes(buttons, camera)
    return [env_action(*tick) for tick in zip(*(each.tolist() for each in classes))]


def env_action(button_class: int, camera_class: int) -> EnvAction:
    """The MineRL action of one button class and one camera class."""
    if not (0 <= button_class < N_BUTTONS and 0 <= camera_class < N_CAMERA):
        _checked_classes([button_class], [camera_class])
    action = dict(_template(button_class))
    action["camera"] = list(_CAMERA_LISTS[camera_class if _MOVES[button_class] else NULL_CAMERA])
    return action


_CAMERA_LISTS: list[list[float]] = CAMERA_DEGREES.tolist()
_MOVES: list[bool] = CAMERA_MOVES.tolist()


@cache
def _template(button_class: int) -> EnvAction:
    """The MineRL action of a button class with a still camera; copied by whoever hands it out."""
    template = null_action()
    template.update({BUTTONS[column]: 1 for column in np.flatnonzero(PRESSED[button_class])})
    return template


def is_null(buttons: ArrayLike, camera: ArrayLike) -> NDArray[np.bool_]:
    """Which joint classes (N,), (N,) do nothing: no policy button and the camera in its middle bin. Returns (N,) bool."""
    return (np.asarray(buttons) == NULL_BUTTONS) & (np.asarray(camera) == NULL_CAMERA)


assert set(BUTTONS) < set(ENV_BUTTONS)
