"""The form of a video from the web: its picture inside black bars, its shape, rate and times, and what cannot be labelled.

Input: a video file. Output: a `VideoForm`, by which every frame is brought to the recorders' form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.media.video import (
    FPS,
    RECORDER_SIZE,
    Frame,
    decoded_frames,
    frame_times,
    probe,
    recorder_size,
    to_rgb,
    turn_of,
)

Box = tuple[int, int, int, int]  # x, y, width, height in pixels of the picture as shown

SHORTEST_S = 2.0
_SMALLEST = (128, 72)
_BLACK = 16  # grey level below which a bar is black
_FEWEST_SAMPLES, _SAMPLES = 6, 48  # of the video, one a second between these
_FIRST_S = 60.0
_MOST_BAR = 0.45  # of the picture on each side: what is darker than that is a dark picture
_SHAPE = RECORDER_SIZE[0] / RECORDER_SIZE[1]
_SAME_SHAPE = 0.02
_NARROWEST = 1.2  # width by height; below it (a phone's upright video) the picture is not a game's window
_HDR = {16: "PQ (HDR10)", 18: "HLG"}  # transfer characteristics by their number in H.273


@dataclasses.dataclass(frozen=True)
class VideoForm:
    """How frames become the recorders': (640, 360) pixels or fewer, 16:9, without bars."""

    width: int  #: of the picture as shown
    height: int
    fps: float  #: on average
    seconds: float  #: by its header, or by its time stamps where that does not say
    codec: str
    start: float  #: time stamp of the first frame, in seconds
    crop: Box  #: what is kept of the picture
    masks: tuple[Box, ...] = ()  #: filled with the colour around them
    notes: tuple[str, ...] = ()

    def frame(self, picture: Frame) -> Frame:
        """A picture (height, width, 3) u8 RGB as the recorders would have it."""
        height, width = picture.shape[:2]
        if (width, height) != (self.width, self.height):  # some videos change their size on the way
            picture = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        for box in self.masks:
            picture = _masked(picture, box)
        x, y, w, h = self.crop
        return recorder_size(np.ascontiguousarray(picture[y : y + h, x : x + w]))

    @property
    def count(self) -> int:
        """Frames at 20 a second."""
        return math.ceil(self.seconds * FPS)

    def metadata(self) -> dict[str, Any]:
        """For the episodes' metadata."""
        return {
            "source_fps": round(self.fps, 4),
            "source_size": [self.width, self.height],
            "source_codec": self.codec,
            "crop": list(self.crop),
            "mask": [list(box) for box in self.masks],
        }


def look_at(path: Path, masks: Sequence[Box] = ()) -> VideoForm:
    """Find the form of a video from frames all over it.

    Raises:
        UserError: it does not open, has no pictures, is shorter than two seconds, too small, upright, or HDR; or a mask lies outside it.
    """
    info, turn = probe(path), turn_of(path)
    first = next(decoded_frames(path))
    if transfer := _HDR.get(int(getattr(first, "color_trc", 0) or 0)):
        raise UserError(
            "This video is HDR; its colours would be wrong.",
            where=path,
            got=transfer,
            todo="ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:r=tv,format=yuv420p OUT.mp4",
        )
    seconds = length_of(path)
    if 0 < seconds < SHORTEST_S:
        raise UserError("This video is too short.", where=path, expected=f"{SHORTEST_S:g} s", got=f"{seconds:.1f} s")
    samples = _samples(path, info.seconds)
    height, width = samples[0].shape[:2]
    samples = [sample for sample in samples if sample.shape[:2] == (height, width)]
    aspect = 1 / info.aspect if turn % 180 else info.aspect
    x, y, w, h = _inside_bars(samples)
    notes = [f"its pictures are turned by {turn} degrees, as the video says"] if turn else []
    if (w, h) != (width, height):
        notes.append(f"black bars are cut off: {w}x{h} of {width}x{height} pixels are left")
    shape = w * aspect / h
    if shape < _NARROWEST:
        raise UserError(
            "This video is portrait or nearly square; the game's window is wider.",
            where=path,
            expected="16:9, or wider than 1.2:1",
            got=f"{w}x{h} pixels",
            todo="ffmpeg -i IN -vf crop=WIDTH:HEIGHT:X:Y OUT.mp4 cuts the game out",
        )
    if shape > _SHAPE * (1 + _SAME_SHAPE):
        less = round(h * _SHAPE / aspect)
        x, w = x + (w - less) // 2, less
        notes.append(f"its picture is {shape:.2f} times as wide as high: the sides are cut off to 16:9")
    elif shape < _SHAPE * (1 - _SAME_SHAPE):
        # Cutting above and below would take the hotbar.
        notes.append(f"its picture is {shape:.2f} times as wide as high and is stretched to 16:9")
    if w < _SMALLEST[0] or h < _SMALLEST[1]:
        expected = f"{_SMALLEST[0]}x{_SMALLEST[1]} pixels and more"
        raise UserError("This video's picture is too small.", where=path, expected=expected, got=f"{w}x{h}")
    for box in masks:
        if box[0] + box[2] > width or box[1] + box[3] > height:
            got, expected = ",".join(map(str, box)), f"inside {width}x{height} pixels"
            raise UserError("A mask lies outside the picture.", where=path, expected=expected, got=got)
    start = float(first.time or 0.0)
    return VideoForm(width, height, info.fps, seconds, info.codec, start, (x, y, w, h), tuple(masks), tuple(notes))


def length_of(path: Path) -> float:
    """Seconds by the header; by the packets' time stamps where it does not say, as with what a browser records. 0 where neither does.

    Raises:
        UserError: it does not open.
    """
    if seconds := probe(path).seconds:
        return seconds
    rate, times, _ = frame_times(path)
    return round(float(times[-1]) + 1 / rate, 4) if len(times) else 0.0


def _samples(path: Path, seconds: float) -> list[Frame]:
    """Frames from all over a video; from its first minute where its length is unknown, or where searching finds too few."""
    count = int(np.clip(seconds, _FEWEST_SAMPLES, _SAMPLES))
    found: dict[int | None, Frame] = {}
    for place in np.linspace(0, seconds, count, endpoint=False).tolist() if seconds > 0 else []:
        with contextlib.suppress(UserError):  # damaged here; labelling says where
            for frame in itertools.islice(decoded_frames(path, start=place), 1):
                found.setdefault(frame.pts, to_rgb(frame))
    return list(found.values()) if len(found) >= _FEWEST_SAMPLES else list(_first_minute(path))


def _first_minute(path: Path) -> Iterator[Frame]:
    """The first frame of each second, and of each sixth of one at the beginning."""
    due, begin = 0.0, None
    with contextlib.suppress(UserError):  # damaged; labelling says where
        for number, frame in enumerate(decoded_frames(path)):
            time = number / FPS if frame.time is None else float(frame.time)
            begin = time if begin is None else begin
            if time - begin >= _FIRST_S:
                return
            if time - begin >= due:
                yield to_rgb(frame)
                due = time - begin + (1 if time - begin >= 1 else 1 / _FEWEST_SAMPLES)


def _inside_bars(samples: Sequence[Frame]) -> Box:
    """The picture without rows and columns that are black in all samples."""
    height, width = samples[0].shape[:2]
    rows, columns = np.zeros(height), np.zeros(width)
    for sample in samples:
        grey = cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY)
        # Not the maximum: compression leaves single brighter pixels.
        rows = np.maximum(rows, np.percentile(grey, 95, axis=1))
        columns = np.maximum(columns, np.percentile(grey, 95, axis=0))
    top, bottom = _bars(rows)
    left, right = _bars(columns)
    return left, top, width - left - right, height - top - bottom


def _bars(levels: NDArray[np.float64]) -> tuple[int, int]:
    """How many lines at the beginning and at the end are black."""
    bright = np.flatnonzero(levels >= _BLACK)
    if not len(bright):
        return 0, 0
    before, after = int(bright[0]), len(levels) - 1 - int(bright[-1])
    most = int(len(levels) * _MOST_BAR)
    return (before, after) if max(before, after) <= most else (0, 0)


def _masked(picture: Frame, box: Box) -> Frame:
    """The picture with a box filled with the mean colour of the pixels around it."""
    x, y, w, h = box
    around = picture[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2].astype(np.float32)
    inner = picture[y : y + h, x : x + w].astype(np.float32)
    count = around.shape[0] * around.shape[1] - w * h
    colour = (around.sum(axis=(0, 1)) - inner.sum(axis=(0, 1))) / max(1, count)
    picture = picture.copy()
    picture[y : y + h, x : x + w] = colour.round()
    return picture


def parse_box(text: str) -> Box:
    """ "x,y,w,h" as numbers.

    Raises:
        UserError: it is not four whole numbers, or no box.
    """
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        x = y = w = h = -1
    if min(x, y) < 0 or min(w, h) < 1:
        raise UserError("This is not a mask.", expected="--mask x,y,w,h in pixels, such as 1600,40,280,210", got=text)
    return x, y, w, h
