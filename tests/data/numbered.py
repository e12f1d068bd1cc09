"""Recordings whose pictures and labels carry numbers: a picture as black and white bars, a tick as its movement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.data.makers import tick

BARS, SIZE = 9, (180, 96)


def bars(number: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """`number` in binary as black and white bars, uint8 (height, width, 3); the top is darker."""
    picture = np.zeros((height, width, 3), np.uint8)
    for bar in range(BARS):
        picture[:, bar * width // BARS : (bar + 1) * width // BARS] = 230 if number >> bar & 1 else 20
    picture[: height // 4] //= 2
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that a picture of any size shows; -1 if it stands on its head."""
    height, width = picture.shape[:2]
    top, rows = picture[: height // 5].astype(float), picture[height // 3 : -height // 10].astype(float)
    bright = rows.mean(axis=(0, 2))
    levels = [bright[(2 * bar + 1) * width // (2 * BARS)] for bar in range(BARS)]
    if top.mean() > rows.mean() * 0.8:
        return -1
    return sum(1 << bar for bar, level in enumerate(levels) if level > 120)


def numbered_tick(number: int, **changes: Any) -> dict[str, Any]:
    """A tick whose yaw, in steps of 0.15 degrees, is number % 60 + 1."""
    return tick(number, mouse={"dx": float(number % 60 + 1), "dy": 0.0}, **changes)


def write_ticks(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_video(
    path: Path, times: Sequence[float], *, fps: float = 20, codec: str = "libx264", audio: bool = False,
    fragmented: bool = False, turn: int = 0, size: tuple[int, int] = SIZE,
) -> None:  # fmt: skip
    """Frames 0, 1, … at these seconds; `fps` stands in the header. Turned ones are coded so that a player shows them upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "frag_keyframe+empty_moov"} if fragmented else {}
    with av.open(str(path), "w", container_options=options) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        width, height = size if turn % 180 == 0 else size[::-1]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "bf": "2", "x265-params": "log-level=none"} if codec != "mpeg4" else {}
        stream.codec_context.time_base = Fraction(1, 60_000)
        if turn:
            stream.set_display_rotation(turn)
        sound: Any = container.add_stream("aac", rate=44_100) if audio else None
        for number, seconds in enumerate(times):
            coded = np.rot90(bars(number, *size), -turn // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(coded), format="rgb24")
            frame.pts, frame.time_base = round(seconds * 60_000), Fraction(1, 60_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            for start in range(0, int((times[-1] + 0.13) * 44_100), 1024):
                noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                noise.sample_rate, noise.pts = 44_100, start
                container.mux(sound.encode(noise))
            container.mux(sound.encode(None))
