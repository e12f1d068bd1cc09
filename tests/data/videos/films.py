"""Films of a camera that turns over a landscape by known movements, in any container, codec, size and rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.actions import BIN_DEGREES
from steve1.data.media.video import VideoWriter

WIDTH, HEIGHT = 320, 180
#: pixels of these pictures per degree: at a vertical field of view of 70 degrees, near the middle
PER_DEGREE = HEIGHT / 2 / np.tan(np.radians(35)) * np.pi / 180
FPS = 20


@cache
def landscape(seed: int = 0) -> NDArray[np.uint8]:
    """A picture (1400, 2600, 3) with texture everywhere."""
    small = np.random.default_rng(seed).integers(20, 236, (140, 260, 3), np.uint8)
    return cv2.resize(small, (2600, 1400), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def turns(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Camera movements (count, 2), pitch and yaw in degrees at the middle of their bins, held for some frames, that stay over the landscape."""
    rng = np.random.default_rng(seed)
    found, place = np.zeros((count, 2)), np.zeros(2)
    start = 0
    while start < count:
        held = min(int(rng.integers(3, 15)), count - start)
        move = np.array([BIN_DEGREES[b] for b in rng.integers(1, 10, 2)]) * rng.integers(0, 2, 2)
        end = place + move * held
        move = np.where(np.abs(end) > (220, 450), -move, move)
        place = place + move * held
        found[start : start + held] = move
        start += held
    return found


def pictures(degrees: NDArray[np.float64], rate: int = FPS, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Frames (180, 320, 3): at 20 a second, frame i is what is seen before movement i; at other rates the camera moves evenly between."""
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(degrees, axis=0)])
    scene = landscape(seed)
    for number in range(round(len(degrees) * rate / FPS)):
        time = number * FPS / rate
        whole = int(time)
        pitch, yaw = places[whole] + (places[min(whole + 1, len(places) - 1)] - places[whole]) * (time - whole)
        x, y = 1300 + yaw * PER_DEGREE, 700 + pitch * PER_DEGREE
        yield cv2.getRectSubPix(scene, (WIDTH, HEIGHT), (x, y))  # type: ignore[misc]


def film(path: Path, degrees: NDArray[np.float64], rate: int = FPS, seed: int = 0) -> Path:
    """An mp4 (H.264) of these movements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, WIDTH, HEIGHT, rate, preset="ultrafast") as writer:
        for frame in pictures(degrees, rate, seed):
            writer.write(frame)
    return path


def encode(
    path: Path,
    frames: Iterator[NDArray[np.uint8]],
    codec: str = "libx264",
    *,
    stamps: Callable[[int], float] = lambda number: number / FPS,
    options: dict[str, str] | None = None,
    audio: bool = False,
    live: bool = False,
    change: Callable[[av.VideoFrame], None] = lambda frame: None,
) -> Path:
    """A video of frames with time stamps in seconds, in the container of the path's ending; a live one (mkv, webm) names no length and has no index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"live": "1"} if live else {}) as container:
        stream = None
        sound = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000) if audio else None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=60)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
                stream.options = options or {}
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(stamps(number) * 1000), Fraction(1, 1000)
            change(picture)
            container.mux(stream.encode(picture))
        assert stream is not None
        container.mux(stream.encode(None))
        if sound is not None:
            for start in range(0, 48000, 960):
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
                tone.sample_rate, tone.pts = 48000, start
                container.mux(sound.encode(tone))
            container.mux(sound.encode(None))
    return path
