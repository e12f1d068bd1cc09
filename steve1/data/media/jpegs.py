"""A file of JPEGs, one after another, with an index of offsets: random access to frames, one read per window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError

#: Measured on 204 frames of the game: mean error 1.8 grey levels (at most 33), 8.5 KB a frame. 4:2:0 chroma would save
#: 20 % and have a mean error of 2.4, up to 143 at coloured edges.
QUALITY, CHROMA = 94, "4:4:4"
#: entropy-coded pixels never hold this many zero bytes in a row; blocks that a disk lost do
_LOST = bytes(16)
_HEADER = 600  # bytes, tables included
_SETTINGS = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


class JpegPackWriter:
    """Appends frames to an open binary file and keeps their offsets."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._offsets = [0]

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append one (H, W, 3) uint8 RGB frame."""
        good, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _SETTINGS)
        if not good:
            raise UserError("A frame could not be packed as JPEG.", got=f"{frame.dtype} {frame.shape}")
        self._handle.write(data.tobytes())
        self._offsets.append(self._offsets[-1] + len(data))

    def copy(self, pack: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """Append the frames of another pack (its bytes) whose `offsets` (N+1,) are given, without encoding them again."""
        self._handle.write(pack[int(offsets[0]) : int(offsets[-1])].data)
        self._offsets += (offsets[1:] - offsets[0] + self._offsets[-1]).tolist()

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (N+1,): frame i is bytes offsets[i] .. offsets[i+1]-1."""
        return np.asarray(self._offsets, dtype=np.int64)


def read_pack(
    path: str | os.PathLike[str], offsets: NDArray[np.int64], start: int, stop: int, out: NDArray[np.uint8]
) -> None:
    """Decode frames start..stop-1 into `out` uint8 (stop-start, H, W, 3) RGB.

    Raises:
        UserError: the file is shorter than its index says, or a frame does not decode (names it).
    """
    first, last = int(offsets[start]), int(offsets[stop])
    with open(path, "rb", buffering=0) as handle:
        handle.seek(first)
        data = np.fromfile(handle, dtype=np.uint8, count=last - first)
    if len(data) != last - first:
        where = f"{path}, frames {start}..{stop - 1}"
        raise UserError("The packed frames end early.", where=where, expected=f"{last - first} bytes", got=len(data))
    for number in range(start, stop):
        jpeg = data[int(offsets[number]) - first : int(offsets[number + 1]) - first]
        # The decoder makes a picture of a damaged frame too, and complains on the console alone.
        fault = lost_part(jpeg.tobytes())
        frame = None if fault else cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)
        if frame is None or frame.shape != out.shape[1:]:
            where = f"{path}, frame {number}"
            raise UserError(
                "A packed frame does not decode.", where=where, got=fault, todo="convert the recording again"
            )
        out[number - start] = frame


def lost_part(jpeg: bytes) -> str:
    """What a JPEG has lost, as far as its bytes show without decoding; "" if nothing."""
    if not jpeg.startswith(b"\xff\xd8\xff"):
        return "it does not begin as a JPEG"
    if not jpeg.endswith(b"\xff\xd9"):
        return "it is cut off"
    return "part of it is zeros" if jpeg.find(_LOST, _HEADER) >= 0 else ""


def file_size(path: Path) -> int:
    """Size in bytes, 0 for a missing file."""
    return path.stat().st_size if path.exists() else 0
