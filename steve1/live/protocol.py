"""What the pages and this program say to each other over a WebSocket, and what of it is refused.

A page sends JSON objects {"do": name, ...} with exactly the fields of COMMANDS. It is sent JSON objects with a "kind", and
pictures: binary messages of a header's length (4 bytes, big-endian), the header as JSON, and a JPEG, or H.264 where the header names a codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from steve1.core.frames import jpeg_bytes

#: bytes of one message from a page; its longest holds a prompt
MAX_MESSAGE = 8192
_MAX_NAMES, _MAX_PIXELS, _MAX_TEXT = 32, 1e5, 500
Command = dict[str, Any]
Check = Callable[[Any], bool]


class BadMessage(ValueError):
    """An invalid message."""


def _number(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high  # NaN is neither


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_NAMES
        and all(isinstance(name, str) and len(name) <= _MAX_NAMES for name in value)
    )


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def _yes_or_no(value: Any) -> bool:
    return type(value) is bool


def _goal(value: Any) -> bool:
    """None, or the numbers of a goal."""
    return value is None or (isinstance(value, list) and len(value) <= 8192 and all(map(_number(-1e6, 1e6), value)))


# commands without fields
_PLAIN = (
    "take_over", "hand_back", "record", "stop", "discard", "redo", "pause", "resume", "step", "reset_agent", "reset_world", "film",
    "control", "finish",
)  # fmt: skip
_PIXELS = _number(-_MAX_PIXELS, _MAX_PIXELS)
#: what the page of a session may ask for
SESSION_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "input": {"down": _names, "pressed": _names, "dx": _PIXELS, "dy": _PIXELS, "wheel": _whole(-100, 100)},
    "prompt": {"text": _text},
    "guidance": {"value": _number(0, 20)},
    "temperature": {"value": _number(0.05, 5)},
    "speed": {"value": _number(0.1, 1)},
    "look": {"tick": _whole(0, 2**31)},
    "video": {"on": _yes_or_no},
    **{name: {} for name in _PLAIN},
}

#: what the page of datasets may ask for
DATASET_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "frames": {"episode": _whole(0, 10**6), "start": _whole(0, 10**8)},
    "judge": {
        "episode": _whole(0, 10**6), "mark": lambda value: value in ("", "good", "bad"), "start": _whole(0, 10**8), "stop": _whole(0, 10**8),
        "caption": _text, "weight": lambda value: value is None or _number(0, 1e6)(value),
    },
    "write": {"name": _text, "overwrite": _yes_or_no},
}  # fmt: skip
#: what a game that is played from here may ask for; its frames are binary messages
POLICY_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "begin": {"prompt": lambda value: value is None or _text(value), "goal": _goal, "seed": _whole(0, 2**53)},
}


def parse(message: str | bytes, commands: Mapping[str, Mapping[str, Check]]) -> Command:
    """A page's message, checked.

    Args:
        message: as it was received; pages send text alone.
        commands: {name: {field: whether a value will do}}.

    Raises:
        BadMessage: it is not JSON, no known command, or one with other fields or values.
    """
    if isinstance(message, bytes):
        raise BadMessage("a binary message")
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as fault:
        raise BadMessage(f"not JSON: {str(fault)[:60]}") from None
    if not isinstance(found, dict) or not isinstance(found.get("do"), str) or found["do"] not in commands:
        raise BadMessage("no known command")
    fields = commands[found["do"]]
    if set(found) - {"do"} != set(fields):
        raise BadMessage(f"{found['do']} needs {', '.join(fields) or 'no fields'}")
    for name, check in fields.items():
        if not check(found[name]):
            raise BadMessage(f"{found['do']}: {name} is not what it should be")
    return found


def picture(header: Mapping[str, Any], frame: NDArray[Any], quality: int = 80) -> bytes:
    """A binary message: a header and a frame (H, W, 3) u8 RGB as JPEG."""
    return pack(header, jpeg_bytes(frame, quality))


def pack(header: Mapping[str, Any], body: bytes) -> bytes:
    """A header and bytes in one binary message."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(4, "big") + text + body


def unpack(message: bytes, most: int = MAX_MESSAGE) -> tuple[dict[str, Any], bytes]:
    """(header, bytes) of a binary message.

    Raises:
        BadMessage: an invalid message.
    """
    length = int.from_bytes(message[:4], "big")
    if len(message) < 4 or length > min(most, len(message) - 4):
        raise BadMessage("its header is cut off")
    try:
        header = json.loads(message[4 : 4 + length])
    except (ValueError, RecursionError) as fault:
        raise BadMessage(f"its header is not JSON: {str(fault)[:60]}") from None
    if not isinstance(header, dict):
        raise BadMessage("its header is no object")
    return header, message[4 + length :]
