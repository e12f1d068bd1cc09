"""Reads OWAMcap, what `ocap` records on Windows: keys, raw mouse movements and screen times in an .mcap, the pictures in an .mkv.

Output: ticks of 1/20 s. A button counts as pressed in a tick if it was down at any time in it; mouse movements are summed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError, optional_package
from steve1.data.media.video import FPS

#: degrees of a count of the mouse at Minecraft's default sensitivity (100 %)
DEGREES = 0.15
_TICK_NS = 1_000_000_000 // FPS
#: Windows' virtual key codes; Minecraft's default bindings
_KEYS = {
    0x57: "forward", 0x53: "back", 0x41: "left", 0x44: "right", 0x20: "jump", 0x10: "sneak", 0xA0: "sneak",
    0x11: "sprint", 0xA2: "sprint", 0x51: "drop", 0x45: "inventory", 0x46: "swapHands", 0x1B: "ESC",
}  # fmt: skip
_SLOTS = {0x31 + slot: slot for slot in range(9)}
#: flags of a raw mouse event: (down, up, what it presses)
_BUTTONS = ((0x1, 0x2, "attack"), (0x4, 0x8, "use"), (0x10, 0x20, "pickItem"))
_WHEEL, _NOTCH, _ABSOLUTE = 0x400, 120, 0x1
#: nanoseconds by which the pictures' order may differ between clock and video, and their distance: a busy machine notes some late
_BACK, _APART = 500_000_000, 5_000_000_000


@dataclass
class Captured:
    """What an .mcap holds, in ticks of 1/20 s from the first picture on.

    Attributes:
        actions: N MineRL actions.
        video: the file with the pictures.
        seconds: float64 (N,), the time in it of the picture that is on the screen when a tick begins.
        size: width and height of the pictures, (0, 0) if not noted.
        notes: for the report.
    """

    actions: list[act.EnvAction]
    video: Path
    seconds: NDArray[np.float64]
    size: tuple[int, int]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Screens:
    """Screen messages in order: nanoseconds of the clock and of the video."""

    clock: list[int] = field(default_factory=list)
    video: list[int] = field(default_factory=list)
    uris: set[str] = field(default_factory=set)
    size: tuple[int, int] = (0, 0)


def read_mcap(path: Path, degrees: float = DEGREES) -> Captured:
    """Read a recording.

    Args:
        path: the .mcap.
        degrees: of the camera for one count of the mouse.

    Raises:
        UserError: it is no OWAMcap, is damaged, has no pictures or no raw mouse movements, or the clock was set meanwhile.
    """
    screens, inputs, kinds = _Screens(), [], set[str]()
    for kind, clock, message in _messages(path):
        kinds.add(kind)
        if kind == "ScreenCaptured":
            _add_screen(screens, clock, message, path)
        elif kind in ("KeyboardEvent", "RawMouseEvent"):
            inputs.append((clock, kind, message))
    if len(screens.clock) < 2 or len(screens.uris) != 1:
        got = f"{len(screens.clock)} pictures in {len(screens.uris)} videos; messages: {', '.join(sorted(kinds)) or 'none'}"
        raise UserError("This recording has not one video of the screen.", where=path, expected="ScreenCaptured messages that name an .mkv or .mp4", got=got)  # fmt: skip
    if "RawMouseEvent" not in kinds:
        what = "This recording has no raw mouse movements, and while the game holds the pointer nothing else shows how the camera turned."
        raise UserError(what, where=path, expected="RawMouseEvent messages", got=", ".join(sorted(kinds)))
    video = path.parent / Path(next(iter(screens.uris)).replace("\\", "/").removeprefix("file://"))
    order = np.argsort(screens.clock, kind="stable")
    times, shown = np.asarray(screens.clock)[order], np.asarray(screens.video)[order]
    apart = (times - times[0]) - (shown - shown[0])
    if np.diff(shown).min() < -_BACK or np.ptp(apart) > _APART:
        what = "The clock was set while this was recorded, so its pictures and inputs cannot be paired."
        raise UserError(what, where=path, expected="messages and pictures that go on together", got=f"up to {np.ptp(apart) / 1e9:.1f} s apart", todo="record it again, or leave it out")  # fmt: skip
    starts = np.arange(times[0], times[-1] + 1, _TICK_NS)
    at = np.searchsorted(times, starts, side="right") - 1
    notes = ["menus are not recorded by ocap: mouse movements in an open menu count as turns of the camera"]
    actions = _ticks(sorted(inputs, key=lambda each: each[0]), int(times[0]), len(starts), degrees, path)
    return Captured(actions, video, shown[at] / 1e9, screens.size, notes)


def _messages(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(kind, nanoseconds, message) of every message of a known encoding, in order of time."""
    reader = optional_package("mcap.reader", "owamcap", "OWAMcap")
    faults = optional_package("mcap.exceptions", "owamcap", "OWAMcap")
    try:
        with open(path, "rb") as file:
            for schema, _, message in reader.make_reader(file).iter_messages():
                # desktop/KeyboardEvent, in older files owa.env.desktop.msg.KeyboardEvent
                kind = (schema.name if schema else "").replace(".", "/").rpartition("/")[2]
                if kind in ("KeyboardEvent", "RawMouseEvent", "ScreenCaptured", "WindowInfo", "MouseEvent"):
                    content = json.loads(message.data)
                    if isinstance(content, dict):
                        yield kind, int(message.log_time), content
    except (faults.McapError, ValueError, EOFError, OSError, RuntimeError) as fault:
        got = f"{type(fault).__name__}: {str(fault)[:120]}"
        raise UserError("This .mcap is damaged, or holds something else.", where=path, got=got) from None


def _add_screen(screens: _Screens, clock: int, message: dict[str, Any], path: Path) -> None:
    media = message.get("media_ref") or {"uri": message.get("path"), "pts_ns": message.get("pts")}
    uri, pts = (media.get("uri"), media.get("pts_ns")) if isinstance(media, dict) else (None, None)
    if not isinstance(uri, str) or not isinstance(pts, int) or uri.startswith(("data:", "http:", "https:")):
        raise UserError(
            "A picture of this recording is not in a video beside it.",
            where=path,
            expected='media_ref {"uri": "name.mkv", "pts_ns": …}',
            got=str(media)[:80],
        )
    screens.clock.append(clock)
    screens.video.append(pts)
    screens.uris.add(uri)
    shape: Any = message.get("source_shape") or message.get("shape")
    if isinstance(shape, list) and len(shape) == 2:
        screens.size = int(shape[0]), int(shape[1])


def _ticks(
    inputs: list[tuple[int, str, dict[str, Any]]], begin: int, count: int, degrees: float, path: Path
) -> list[act.EnvAction]:
    actions = [act.null_action() for _ in range(count)]
    held: dict[str, int] = {}  # the tick from which each button has been down, 0 if since before the first picture
    slot = 0

    def release(name: str, tick: int, outside: bool = False) -> None:
        begun = held.pop(name, tick)
        for each in range(begun, begun if outside else tick + 1):
            actions[each][name] = 1

    for clock, kind, message in inputs:
        tick = (clock - begin) // _TICK_NS
        if tick >= count:
            break
        outside, tick = tick < 0, max(0, tick)
        try:
            if kind == "KeyboardEvent":
                key, down = int(message["vk"]), message["event_type"] == "press"
                if (name := _KEYS.get(key)) and down:
                    held.setdefault(name, tick)
                elif name and name in held:
                    release(name, tick, outside)
                elif key in _SLOTS and down and not outside:
                    slot = _choose(actions[tick], slot, _SLOTS[key])
                continue
            flags, relative = int(message.get("button_flags") or 0), not int(message.get("us_flags") or 0) & _ABSOLUTE
            x, y = float(message["last_x"]), float(message["last_y"])
            if relative and not outside and math.isfinite(x + y):
                pitch, yaw = actions[tick]["camera"]
                actions[tick]["camera"] = [pitch + y * degrees, yaw + x * degrees]
            for pressed, released, name in _BUTTONS:
                if flags & pressed:
                    held.setdefault(name, tick)
                if flags & released and name in held:
                    release(name, tick, outside)
            if flags & _WHEEL and not outside:
                data = int(message.get("button_data") or 0)
                notches = round((data - 0x10000 if data >= 0x8000 else data) / _NOTCH)
                slot = _choose(actions[tick], slot, (slot - notches) % 9)
        except (KeyError, TypeError, ValueError) as fault:
            got = f"{type(fault).__name__}: {fault}"
            raise UserError("A message of this recording has another form.", where=f"{path}, {kind}", got=got) from None
    for name in list(held):
        release(name, count - 1)
    return actions


def _choose(action: act.EnvAction, slot: int, chosen: int) -> int:
    """Press the key of another slot; one that is selected already does nothing."""
    if chosen != slot:
        for number in range(1, 10):
            action[f"hotbar.{number}"] = int(number == chosen + 1)
    return chosen
