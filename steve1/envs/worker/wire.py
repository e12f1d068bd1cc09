"""What travels between a game's worker and the main program: the same file on both sides, Python 3.8 with numpy alone.

Messages are JSON over a socket, with length and checksum in front, so that a torn message is noticed. The picture lies in memory that
both processes map.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import socket
import struct
import time
import zlib
from typing import Any, Dict

import numpy as np

PROTOCOL = 1
_MAGIC = b"ST1W"
_HEAD = struct.Struct("<4sII")  # magic, length of the body, its CRC-32
_LONGEST = 64 << 20
_TORN_S = 10.0  # the rest of a message that has begun comes at once or never
_PICTURE_HEAD = struct.Struct("<QIIQ")  # number (before), height, width, number (after)
_PICTURE_AT = 64

Message = Dict[str, Any]


class TornError(Exception):
    """Bytes that are no message of this protocol, or a picture that is not the announced one."""


def plain(value: Any) -> Any:
    """numpy's scalars and arrays as JSON's own; what `json` calls for values that it does not know."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError("a message holds plain values and numpy's; this is a " + type(value).__name__)


def pack(message: Message) -> bytes:
    """One message as bytes."""
    body = json.dumps(message, default=plain, separators=(",", ":")).encode()
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


class Channel:
    """Messages over a connected stream socket, in order, each whole or refused."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._held = bytearray()  # what has come of the next message; a time-out loses none of it
        self._begun = 0.0

    def send(self, message: Message, timeout_s: float | None = None) -> None:
        """Send one message.

        Raises:
            TimeoutError: the other side did not take it in time. OSError: the other side is gone.
        """
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(pack(message))
        except socket.timeout:
            raise TimeoutError("sending timed out: the other side does not read") from None

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message.

        Raises:
            TimeoutError: nothing came in time. EOFError: the other side closed. TornError: what came is no message.
        """
        limit = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            message = self._whole()
            if message is not None:
                return message
            now = time.monotonic()
            if self._held and now - self._begun > _TORN_S:
                raise TornError("a message that ends before its length")
            # Whatever the clock says, what is there already is taken: this process may have waited long for its turn.
            self._fill(None if limit is None else max(0.0, limit - now))

    def _fill(self, wait_s: float | None) -> None:
        self._socket.settimeout(min(_TORN_S, wait_s) if wait_s is not None and self._held else wait_s)
        try:
            got = self._socket.recv(1 << 16)
        except (socket.timeout, BlockingIOError):
            raise TimeoutError("no message in time") from None
        except ConnectionError:
            got = b""
        if not got:
            if self._held:
                raise TornError("a message that ends before its length")
            raise EOFError("the other side closed")
        if not self._held:
            self._begun = time.monotonic()
        self._held += got

    def _whole(self) -> Message | None:
        """The first message of what has come, if it is complete."""
        if len(self._held) < _HEAD.size:
            return None
        magic, length, checksum = _HEAD.unpack_from(self._held)
        if magic != _MAGIC or length > _LONGEST:
            raise TornError(f"bytes that do not begin a message: {bytes(magic)!r}")
        if len(self._held) < _HEAD.size + length:
            return None
        body = bytes(self._held[_HEAD.size : _HEAD.size + length])
        del self._held[: _HEAD.size + length]
        self._begun = time.monotonic()
        if zlib.crc32(body) != checksum:
            raise TornError("a message whose checksum is wrong")
        try:
            message = json.loads(body.decode())
        except ValueError as fault:
            raise TornError(f"a message that is not JSON: {fault}") from None
        if not isinstance(message, dict):
            raise TornError("a message that is not an object")
        return message

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Picture:
    """One picture, u8 (H,W,3) RGB, in a file that both processes map. Its number is written before and after its pixels."""

    def __init__(self, descriptor: int, width: int, height: int) -> None:
        self.shape: tuple[int, int, int] = (height, width, 3)
        self._map = mmap.mmap(descriptor, self.bytes_for(width, height))
        self._pixels = np.frombuffer(self._map, np.uint8, height * width * 3, _PICTURE_AT).reshape(self.shape)

    @staticmethod
    def bytes_for(width: int, height: int) -> int:
        """Size of the file."""
        return _PICTURE_AT + width * height * 3

    def write(self, frame: np.ndarray, number: int) -> None:
        """Put a picture there.

        Raises:
            ValueError: it has another shape or type.
        """
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"a picture of shape {frame.shape} and type {frame.dtype}, not {self.shape} and uint8")
        height, width = self.shape[:2]
        _PICTURE_HEAD.pack_into(self._map, 0, number, height, width, 0)
        self._pixels[:] = frame
        _PICTURE_HEAD.pack_into(self._map, 0, number, height, width, number)

    def read(self, number: int) -> np.ndarray:
        """A copy of the picture, which must be the one with this number.

        Raises:
            TornError: it is another one, half of one, or of another size.
        """
        before, height, width, _ = _PICTURE_HEAD.unpack_from(self._map, 0)
        frame = self._pixels.copy()
        after = _PICTURE_HEAD.unpack_from(self._map, 0)[3]
        if before != number or after != number:
            raise TornError(f"picture {number} was announced, and {before}/{after} is there")
        if (height, width, 3) != self.shape:
            raise TornError(f"a picture of {width}x{height} in place of {self.shape[1]}x{self.shape[0]}")
        return frame

    def close(self) -> None:
        """Let go of the memory."""
        del self._pixels
        with contextlib.suppress(BufferError):  # still viewed; it is freed with the view
            self._map.close()
