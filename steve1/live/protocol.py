"""What the pages and this program say to each other over a WebSocket, and what of it is refused.

A page sends JSON objects {"do": name, ...} with exactly the fields of COMMANDS. It is sent JSON objects with a "kind", and
pictures: binary messages of a header's length (4 bytes, big-endian), the header as JSON, and a JPEG, or H.264 where the header names a codec.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from steve1.core.frames import jpeg_bytes
from steve1.core.messages import translated

#: bytes of one message from a page; its longest holds a prompt
MAX_MESSAGE = 8192
_MAX_NAMES, _MAX_PIXELS, _MAX_TEXT = 32, 1e5, 500
Command = dict[str, Any]


class BadMessage(ValueError):
    """An invalid message, in the user's language.

    Attributes:
        command: the message, where it is a known command with all its fields and some of their values are refused; else empty.
    """

    def __init__(self, text: str, command: Command | None = None) -> None:
        super().__init__(text)
        self.command: Command = command or {}


@dataclasses.dataclass(frozen=True)
class Check:
    """What values a field may have: in words, and as a function."""

    limit: str
    allows: Callable[[Any], bool]

    def or_none(self) -> Check:
        """None is allowed too."""
        return Check(self.limit, lambda value: value is None or self.allows(value))


def _number(low: float, high: float) -> Check:
    limit = f"a number from {low:,g} to {high:,g}"
    return Check(limit, lambda value: type(value) in (int, float) and low <= value <= high)  # NaN is neither


def _whole(low: int, high: int) -> Check:
    return Check(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_NAMES
        and all(isinstance(name, str) and len(name) <= _MAX_NAMES for name in value)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT and _plain_spaces(value).isprintable()


def _plain_spaces(text: str) -> str:
    """Spaces of any width, such as the Chinese one, become plain ones."""
    return "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text)


def _is_goal(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 8192 and all(map(_number(-1e6, 1e6).allows, value))


_NAMES = Check(f"at most {_MAX_NAMES} names of at most {_MAX_NAMES} letters", _are_names)
_TEXT = Check(f"at most {_MAX_TEXT} characters without control characters", _is_text)
_YES_OR_NO = Check("true or false", lambda value: type(value) is bool)
_MARK = Check('"", "good" or "bad"', lambda value: value in ("", "good", "bad"))
_GOAL = Check("at most 8192 numbers", _is_goal).or_none()
# commands without fields
_PLAIN = (
    "take_over", "hand_back", "record", "stop", "discard", "redo", "pause", "resume", "step", "reset_agent", "reset_world", "film",
    "control", "finish",
)  # fmt: skip
_PIXELS = _number(-_MAX_PIXELS, _MAX_PIXELS)
#: what the page of a session may ask for
SESSION_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "input": {"down": _NAMES, "pressed": _NAMES, "dx": _PIXELS, "dy": _PIXELS, "wheel": _whole(-100, 100)},
    "prompt": {"text": _TEXT},
    "guidance": {"value": _number(0, 20)},
    "temperature": {"value": _number(0.05, 5)},
    "speed": {"value": _number(0.1, 1)},
    "look": {"tick": _whole(0, 2**31)},
    "video": {"on": _YES_OR_NO},
    **{name: {} for name in _PLAIN},
}

#: what the page of datasets may ask for
DATASET_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "frames": {"episode": _whole(0, 10**6), "start": _whole(0, 10**8)},
    "judge": {
        "episode": _whole(0, 10**6), "mark": _MARK, "start": _whole(0, 10**8), "stop": _whole(0, 10**8),
        "caption": _TEXT, "weight": _number(0, 1e6).or_none(),
    },
    "write": {"name": _TEXT, "overwrite": _YES_OR_NO},
}  # fmt: skip
#: what a game that is played from here may ask for; its frames are binary messages
POLICY_COMMANDS: Mapping[str, Mapping[str, Check]] = {
    "begin": {"prompt": _TEXT.or_none(), "goal": _GOAL, "seed": _whole(0, 2**53)},
}


def parse(message: str | bytes, commands: Mapping[str, Mapping[str, Check]]) -> Command:
    """A page's message, checked.

    Args:
        message: as it was received; pages send text alone.
        commands: {name: {field: what its values may be}}.

    Returns:
        the command; in its texts, spaces of any kind are plain ones.

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
        if not check.allows(found[name]):
            raise BadMessage(translated(f"{found['do']} refused: {name} must be {check.limit}"), found)
    return {name: _plain_spaces(value) if isinstance(value, str) else value for name, value in found.items()}


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
